# What cannot be done is refused in one line before anything is made.

ok=(chaos create --image $host_image --name x --vif)

test_images() {
  refused 3 "no such image: 'nosuch'" chaos create --image nosuch
  refused 3 'nosuch.elf' chaos create --image ./nosuch.elf
  head -c 5000 /dev/urandom >/tmp/random.elf
  refused 2 'not an ELF' chaos create --image /tmp/random.elf
  refused 2 'PVH' chaos create --image /bin/true
  head -c 1000 $host_image >/tmp/short.elf
  refused 2 'ELF' chaos create --image /tmp/short.elf
  refused 2 'not an ELF' chaos image add bad /tmp/random.elf
  # host needs some 300 KiB; fifteen windows leave less of 4 MiB.
  vifs=()
  for i in {1..15}; do vifs+=(--vif bridge=$bridge); done
  refused 2 'memory' chaos create --image $host_image --memory 3 "${vifs[@]}"
}

test_images_without_end() {
  refused 2 '/dev/zero: neither a file nor a pipe' chaos create --image /dev/zero
  truncate -s 1100M /tmp/large.elf
  refused 2 'large.elf: larger than 1024 MiB' chaos create --image /tmp/large.elf
  refused 2 'large.elf: larger than 1024 MiB' chaos image add large /tmp/large.elf
  # More headers than are looked at, in the place of their count.
  cp $host_image /tmp/many.elf
  printf '\xe8\xfd' | dd of=/tmp/many.elf bs=1 seek=56 conv=notrunc status=none
  refused 2 'more than 256 program headers' chaos create --image /tmp/many.elf
}

test_damaged_image() {
  chaos image add web $host_image >/dev/null
  stored=/var/lib/chaos/images/$(readlink /var/lib/chaos/images/web)
  # Cut short, and then with other bytes in the same length.
  truncate -s 5000 "$stored"
  refused 1 'is damaged: add it again' chaos create --image web
  truncate -s "$(stat -c %s $host_image)" "$stored"
  refused 1 'is damaged: add it again' chaos create --image web
  chaos image add web $host_image >/dev/null
  chaos create --image web --name mended --wait >/dev/null
  chaos destroy mended
  chaos image remove web
}

test_memory() {
  refused 2 "memory.*MiB.*'8X'" chaos create --image $host_image --memory 8X
  refused 2 "type: expected .pvh.*'pv'" chaos create --image $host_image --type pv
  refused 2 "memory.*'0'" chaos create --image $host_image --memory 0
  refused 2 "memory.*-1" chaos create --image $host_image --memory=-1
  refused 5 'memory: 100000 MiB wanted' chaos create --image $host_image --memory 100000
  refused 5 'memory' chaos create --image $host_image --memory 60 --count 500 --name m
}

test_vifs() {
  vifs=()
  for i in {1..16}; do vifs+=(--vif bridge=$bridge); done
  refused 2 'vifs.*16' chaos create --image $host_image --memory 16 "${vifs[@]}"
  refused 2 "multicast.*'01:00:5e:00:00:01'" "${ok[@]}" bridge=$bridge,mac=01:00:5e:00:00:01
  refused 2 "mac.*'52:54:00:00:00'" "${ok[@]}" bridge=$bridge,mac=52:54:00:00:00
  refused 2 "mac.*zz" "${ok[@]}" bridge=$bridge,mac=zz:54:00:00:00:00
  refused 2 "ip.*'10.1.0.300/16'" "${ok[@]}" bridge=$bridge,ip=10.1.0.300/16
  refused 2 "ip" "${ok[@]}" bridge=$bridge,ip=10.1.0.3
  refused 2 "gateway" "${ok[@]}" bridge=$bridge,ip=10.1.0.3/24,gateway=10.9.9.9
  refused 3 "no such bridge: 'nobridge'" "${ok[@]}" bridge=nobridge
  refused 2 "not a bridge: 'lo'" "${ok[@]}" bridge=lo
  refused 2 'bridge' "${ok[@]}" mac=02:00:00:00:00:01
  refused 2 'speed' "${ok[@]}" bridge=$bridge,speed=9
  refused 2 'mtu' "${ok[@]}" bridge=$bridge,mtu=9000
}

test_names() {
  create taken
  refused 4 "taken.*'taken'" chaos create --image $host_image --name taken
  refused 2 "name.*'a b'" chaos create --image $host_image --name 'a b'
  refused 2 "name.*'123'" chaos create --image $host_image --name 123
  refused 2 'name' chaos create --image $host_image --name "$(printf 'n%.0s' {1..64})"
  refused 2 'name' chaos create --image $host_image --name ''
  refused 4 'taken-3' bash -c "chaos create --image $host_image --name taken-3 >/dev/null; \
    chaos create --image $host_image --name taken --count 5; s=\$?; chaos destroy taken-3; exit \$s"
}

test_counts() {
  refused 2 "count.*-3" chaos create --image $host_image --count=-3 --name n
  refused 2 "count.*'?0" chaos create --image $host_image --count 0 --name n
  refused 2 'count' chaos create --image $host_image --count many --name n
  refused 2 'mac' chaos create --image $host_image --count 2 --name n --vif bridge=$bridge,mac=02:00:00:00:00:01
  refused 2 'ip' chaos create --image $host_image --count 2 --name n --vif bridge=$bridge,ip=10.1.0.3/16
  refused 2 'ip' chaos create --image $host_image --count 3 --name n --vif bridge=$bridge,ip=10.1.0.3-10.1.0.4/16
}

test_command_line() {
  refused 2 'after --cmdline is not UTF-8' chaos create --image $host_image --cmdline $'a=\xff'
  refused 2 'cmdline.*1024' chaos create --image $host_image --cmdline "$(printf 'x%.0s' {1..1025})"
}

test_config_files() {
  config() {
    printf '%s' "$1" >/tmp/bad.json
    refused "$2" "$3" chaos create /tmp/bad.json
  }
  config '{ "kernel": "'$PWD/$host_image'", "memry": 8 }' 2 "memry"
  config '{ "kernel": "'$PWD/$host_image'", "vifs": [ { "bridge": "'$bridge'", "speed": 1 } ] }' 2 "speed.*vifs\[0\]"
  config '{ "kernel": "'$PWD/$host_image'", "memory": "8" }' 2 'memory.*integer'
  config '{ "kernel": 7 }' 2 'kernel'
  config '{ "kernel": "'$PWD/$host_image'", "memory": 8' 2 'truncated'
  config '[1]' 2 'object'
  config '' 2 '.'
  refused 3 'nosuch.json' chaos create /tmp/nosuch.json
}

test_command_words() {
  refused 2 "crate.*create" chaos crate
  refused 2 'memroy' chaos create --memroy 8
  refused 3 "no such guest: 'nobody'" chaos info nobody
  refused 3 "nobody" chaos destroy nobody
  refused 3 "nobody" chaos console nobody
  refused 2 '.' chaos destroy
}

test_socket_that_the_user_may_not_open() {
  as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
  refused 7 'permission denied.*group chaos' as_nobody chaos list
  refused 7 'is it running' env CHAOS_SOCKET=/tmp/nosuch.sock chaos list
}

test_member_of_group_chaos_may_create() {
  gid=$(getent group chaos | cut -d: -f3)
  setpriv --reuid 65534 --regid 65534 --groups "$gid" chaos create --image $noop_image --name theirs
  expect_equal guests theirs "$(chaos list --format json | jq -r '.guests[].name')"
}

test_file_the_user_may_not_read() {
  cp $host_image /tmp/secret.elf
  chmod 600 /tmp/secret.elf
  gid=$(getent group chaos | cut -d: -f3)
  refused 2 'secret.elf.*[Pp]ermission' \
    setpriv --reuid 65534 --regid 65534 --groups "$gid" chaos create --image /tmp/secret.elf
}
