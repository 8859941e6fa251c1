# chaos's own Debian packages, installed in dom0 beside what the box has.

# What the box lacks of a whole Debian is not needed: it has no systemd, and the packages are to do without.
install_packages() { dpkg --install --force-depends "$@" >/tmp/dpkg.log 2>&1 || fail "$(tail -n 20 /tmp/dpkg.log)"; }

# The daemons of the packages in place of the box's.
start_installed() {
  kill_chaosd
  pkill -x chaos-backend || :
  PATH=/usr/bin:$PATH start_chaosd
  expect_equal program /usr/bin/chaosd "$(readlink "/proc/$(pidof chaosd)/exe")"
}

# newer FOLDER: chaosd's package of a later version.
newer() {
  dpkg-deb --raw-extract /share/chaosd_*.deb "$1"
  sed -i 's/^Version: .*/&+later1/' "$1/DEBIAN/control"
  dpkg-deb --build -Znone --root-owner-group "$1" "$1.deb" >/dev/null
}

# The box's own again, with what a purge takes.
restore_box() {
  dpkg --purge --force-depends chaos-images chaos-network-plugins chaosd chaos >/dev/null 2>&1
  mkdir -p /var/log/chaos /var/lib/chaos /etc/chaos
  kill_chaosd
  start_chaosd
}

test_packages_are_installed_upgraded_removed_and_purged() {
  trap restore_box EXIT
  install_packages /share/*.deb
  start_installed
  for program in chaosd chaos-backend chaos-bench chaos; do [[ -x /usr/bin/$program ]] || fail "no $program"; done
  [[ -x /usr/lib/netavark/chaos && -x /usr/lib/cni/chaos-cni ]]
  getent group chaos >/dev/null && getent passwd chaos-backend >/dev/null
  /usr/bin/chaos create --image /usr/lib/chaos/images/host.elf --name kept --vif bridge=$bridge,ip=10.1.0.2/16 --wait
  wait_until 20 answers 10.1.0.2
  uuid=$(info kept .uuid)

  newer /tmp/newer
  install_packages /tmp/newer.deb
  answers 10.1.0.2 || fail 'the guest does not answer after the upgrade'
  start_installed
  wait_until 20 answers 10.1.0.2
  expect_equal guest "$uuid" "$(info kept .uuid)"

  dpkg --remove --force-depends chaosd >/tmp/remove.log 2>&1
  grep -q 'chaosd: 1 domains of chaos run on' /tmp/remove.log || fail "$(cat /tmp/remove.log)"
  [[ ! -e /usr/bin/chaosd ]] || fail 'chaosd is still there'
  answers 10.1.0.2 || fail 'the guest does not answer after the removal'
  expect_equal guest "$uuid" "$(info kept .uuid)"
  chaos destroy kept

  dpkg --purge --force-depends chaosd >/tmp/purge.log 2>&1 || fail "$(cat /tmp/purge.log)"
  for folder in /var/lib/chaos /etc/chaos; do
    [[ ! -d $folder ]] || expect_equal "what is left in $folder" '' "$(ls -A $folder)"
  done
}
