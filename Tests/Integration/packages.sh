# chaos's own Debian packages, installed in dom0 beside what the box has.

install_packages() { dpkg --install "$@" >/tmp/dpkg.log 2>&1 || fail "$(tail -n 20 /tmp/dpkg.log)"; }

# newer FOLDER: chaosd's package of a later version.
newer() {
  dpkg-deb --raw-extract /share/chaosd_*.deb "$1"
  sed -i 's/^Version: .*/&+later1/' "$1/DEBIAN/control"
  dpkg-deb --build -Znone --root-owner-group "$1" "$1.deb" >/dev/null
}

# The box's own again, with what a purge takes.
restore_box() {
  PATH=/chaos/bin:$PATH
  chaos destroy --all >/dev/null 2>&1 || :
  dpkg --purge chaos-doc chaos-images chaos-network-plugins chaosd chaos >/dev/null 2>&1 || :
  mkdir -p /var/log/chaos /var/lib/chaos /etc/chaos
  start_chaosd
}

# Everything the packages ask of the host is theirs to make: the box has it already.
without_users() {
  userdel chaos-backend
  ! getent group chaos-backend >/dev/null || groupdel chaos-backend
  groupdel chaos
}

ended() { ! pidof "$@" >/dev/null; }

test_packages_are_installed_upgraded_removed_and_purged() {
  trap restore_box EXIT
  chaos pool drain >/dev/null
  kill_chaosd
  pkill -x chaos-backend || :
  wait_until 20 ended chaos-backend
  without_users
  install_packages /share/*.deb
  hash -r
  PATH=/usr/bin:$PATH
  start_chaosd
  expect_equal program /usr/bin/chaosd "$(readlink "/proc/$(pidof chaosd)/exe")"
  for program in chaosd chaos-backend chaos-bench chaos; do [[ -x /usr/bin/$program ]] || fail "no $program"; done
  [[ -x /usr/lib/netavark/chaos && -x /usr/lib/cni/chaos-cni ]]
  expect_equal 'group of the socket' chaos "$(stat -c %G /run/chaos/chaosd.sock)"
  chaos create --image /usr/lib/chaos/images/host.elf --name kept --vif bridge=$bridge,ip=10.1.0.2/16 --wait
  wait_until 20 answers 10.1.0.2
  expect_equal "chaos-backend's user" chaos-backend "$(stat -c %U "/proc/$(pidof chaos-backend)")"
  uuid=$(info kept .uuid)
  backend=$(pidof chaos-backend)

  # Neither the upgrade nor the next chaosd costs the guest a packet; its chaos-backend stays.
  newer /tmp/newer
  ping -i 0.2 -W 10 10.1.0.2 >/tmp/pings &
  pinger=$!
  install_packages /tmp/newer.deb
  grep -q "^chaosd: process $(pidof chaosd) is the chaosd before" /tmp/dpkg.log || fail "$(cat /tmp/dpkg.log)"
  grep -q "^chaosd: guests keep their chaos-backend.* kill $backend\$" /tmp/dpkg.log || fail "$(cat /tmp/dpkg.log)"
  kill_chaosd
  start_chaosd
  kill -INT $pinger
  wait $pinger || :
  grep -q ' 0% packet loss' /tmp/pings || fail "$(tail -n 2 /tmp/pings)"
  expect_equal guest "$uuid" "$(info kept .uuid)"
  expect_equal chaos-backend "$backend" "$(pidof chaos-backend)"

  # A removal leaves guests, names them, and leaves nothing else.
  chaos pool set --memory 6 --vifs 1 --low 1 --high 1 >/dev/null
  chaos pool fill --wait >/dev/null
  dpkg --remove chaosd >/tmp/remove.log 2>&1
  grep -q '^chaosd: these guests run on, .*: kept $' /tmp/remove.log || fail "$(cat /tmp/remove.log)"
  [[ ! -e /usr/bin/chaosd ]] || fail 'chaosd is still there'
  ended chaosd || fail 'chaosd still runs'
  expect_equal records "$uuid" "$(ls /run/chaos/domains)"
  answers 10.1.0.2 || fail 'the guest does not answer after the removal'

  # The next chaosd has it again.
  install_packages /share/chaosd_*.deb
  start_chaosd
  expect_equal guest "$uuid" "$(info kept .uuid)"
  chaos destroy kept

  dpkg --purge chaosd >/tmp/purge.log 2>&1 || fail "$(cat /tmp/purge.log)"
  ended chaosd chaos-backend || fail 'a daemon still runs'
  for folder in /etc/chaos /run/chaos /var/lib/chaos /var/log/chaos; do
    [[ ! -e $folder ]] || fail "$folder is left: $(ls -A "$folder")"
  done
  ! grep -q 'run on' /tmp/purge.log || fail "$(cat /tmp/purge.log)"
}

test_units_start_in_dom0() {
  local unit path
  for unit in packaging/systemd/*; do
    path=$(sed -n 's/^ConditionPathExists=//p' "$unit")
    [[ $path && -e $path ]] || fail "$unit wants $path"
  done
}
