# The HTTP API as a client without our library sees it.

api() { curl -s --unix-socket /run/chaos/chaosd.sock "$@"; }
code() { api -o /tmp/body -w '%{http_code}' "$@"; }

test_errors_have_code_and_message() {
  expect_equal status 404 "$(code http://c/v1/guests/nobody)"
  expect_equal code not_found "$(jq -r .error.code /tmp/body)"
  expect_equal status 404 "$(code http://c/v1/nowhere)"
  expect_equal code not_found "$(jq -r .error.code /tmp/body)"
  expect_equal status 400 "$(code -X POST -d '{' http://c/v1/guests)"
  expect_equal status 400 "$(code -X POST -d '{"kernel":"a","what":1}' http://c/v1/guests)"
  jq -r .error.message /tmp/body | grep -q what
}

test_guest_by_plain_http() {
  digest=$(api --data-binary @$host_image -H 'content-type: application/octet-stream' http://c/v1/images | jq -r .digest)
  expect_equal status 201 "$(code -X POST -d '{"name":"h","kernel":"'"$digest"'","vifs":[{"bridge":"'$bridge'","ip":"10.1.0.2/16"}]}' http://c/v1/guests)"
  wait_until 20 answers 10.1.0.2
  expect_equal status 204 "$(code -X DELETE http://c/v1/guests/h)"
}

test_server_opens_no_file_a_client_names() {
  expect_equal status 404 "$(code -X POST -d '{"name":"h","kernel":"../../../../../etc/passwd"}' http://c/v1/guests | sed 's/400/404/')"
  expect_equal status 404 "$(code -X POST -d '{"name":"h","kernel":"/chaos/images/build/host.elf"}' http://c/v1/guests | sed 's/400/404/')"
}

test_unused_upload_is_not_kept_forever() {
  api --data-binary @$host_image http://c/v1/images >/dev/null
  ls /var/lib/chaos/uploads | grep -q .
}

test_garbage_on_the_socket_is_survived() {
  for i in 1 2 3 4 5; do
    head -c 4096 /dev/urandom | timeout 5 socat - UNIX-CONNECT:/run/chaos/chaosd.sock >/dev/null 2>&1 || true
  done
  chaos version >/dev/null
}

test_refused_upload_gets_its_answer() {
  expect_equal status 400 "$(head -c 30000000 /dev/zero | code -X PUT -H 'Expect:' -T - 'http://c/v1/images/bad%20name')"
  expect_equal code invalid_argument "$(jq -r .error.code /tmp/body)"
  # More than is collected for any request but an upload.
  expect_equal status 400 "$(head -c 3000000 /dev/zero | code -X POST -H 'Expect:' --data-binary @- http://c/v1/guests)"
}

test_client_that_ends_its_side_gets_its_answer() {
  printf 'GET /v1/version HTTP/1.1\r\nHost: c\r\n\r\n' | timeout 10 nc -N -U /run/chaos/chaosd.sock | grep -q '200 OK'
}

test_client_that_asks_first_is_told_to_go_on() {
  # curl asks before it sends more than 1 MiB, and waits a second for the answer.
  head -c 3000000 /dev/zero >/tmp/ramdisk
  api -v --data-binary @/tmp/ramdisk 'http://c/v1/images?kind=ramdisk' -o /dev/null 2>/tmp/said
  grep -q '100 Continue' /tmp/said
}

metric() { api http://c/v1/metrics | awk -v name="$1" '$1 == name { print $2 }'; }
metric_is() { [[ $(metric "$1") == "$2" ]]; }

test_metrics_count_what_happens() {
  local before
  before=$(metric 'chaos_requests_total{route="/v1/guests",method="POST",code="201"}')
  chaos create --name m --image $noop_image --memory 4 >/dev/null
  metric_is 'chaos_requests_total{route="/v1/guests",method="POST",code="201"}' $((${before:-0} + 1))
  metric_is 'chaos_guests{state="running"}' 1
  (($(metric 'chaos_hypercalls_total{kind="domainUnpause"}') > 0))
  (($(metric chaos_connections) > 0))
  # A name in a path is no label.
  code http://c/v1/guests/m >/dev/null
  [[ -z $(api http://c/v1/metrics | grep '/m"') ]]
}

test_health_is_told() {
  expect_equal status 200 "$(code http://c/v1/health)"
  expect_equal health ok "$(jq -r .status /tmp/body)"
}

audit() { jq -c --arg path "$1" 'select(.path == $path)' /var/log/chaos/audit.log; }
audited() { [[ -n $(audit "$1") ]]; }

test_calls_that_change_something_are_audited() {
  code http://c/v1/guests/never-there >/dev/null
  code -X DELETE http://c/v1/guests/never-there >/dev/null
  wait_until 20 audited /v1/guests/never-there
  expect_equal line '{"uid":0,"method":"DELETE","status":404,"result":"not_found"}' \
    "$(audit /v1/guests/never-there | jq -c '{uid, method, status, result}')"
}

test_waits_end_with_their_clients() {
  local i
  chaos create --name w --image $host_image --memory 4 >/dev/null
  for ((i = 0; i < 20; i++)); do
    api --max-time 0.2 'http://c/v1/guests/w/wait?for=ended&timeout=86400' >/dev/null || true
  done
  wait_until 20 metric_is chaos_waits 0
}

# A silent client, one that never ends its request and one that does not read its answer.
test_slow_clients_hold_up_nobody() {
  local i socket=/run/chaos/chaosd.sock
  for ((i = 0; i < 20; i++)); do
    (timeout 15 socat -u UNIX-CONNECT:$socket - >/dev/null 2>&1 || true) &
    (printf 'POST /v1/guests HTTP/1.1\r\nhost: c\r\ncontent-length: 9\r\n\r\n{' | timeout 15 nc -U $socket >/dev/null 2>&1 || true) &
  done
  wait_until 20 eval '(($(metric chaos_connections) > 30))'
  timeout 5 chaos version >/dev/null
  wait
}

test_lock_held_by_another_holds_up_nobody_else() {
  ip link add under9 type dummy
  ip address add 192.0.2.9/24 dev under9
  ip link set under9 up
  chaos lan create held --vni 990 --mode static --vtep 192.0.2.9 >/dev/null
  chaos image add host $host_image >/dev/null
  chaos pool set --image host --memory 8 --vifs 1 --low 0 --high 1 >/dev/null
  chaos pool fill --wait >/dev/null
  flock "/run/chaos/lans/$(chaos lan info held --format json | jq -r .bridge).lock" sleep 6 &
  sleep 0.5
  # A hot create, but one that needs the lock.
  (chaos create --name waits --image host --memory 8 --vif lan=held >/dev/null 2>&1 || true) &
  sleep 0.5
  timeout 3 chaos version >/dev/null
  answers_in_time
  wait
  chaos pool set --image host --memory 8 --vifs 1 --low 0 --high 0 >/dev/null
  chaos destroy --all >/dev/null
  chaos lan delete held
  ip link delete under9
}

test_uploads_leave_room_on_the_disk() {
  local uploads=/var/lib/chaos/uploads
  upload() { head -c "$1" /dev/zero | code --data-binary @- 'http://c/v1/images?kind=ramdisk'; }
  mount -t tmpfs -o size=1m none $uploads
  status=$(upload 500000) full=$(upload 600000) refusal=$(jq -r .error.code /tmp/body) kept=$(ls -A $uploads | wc -l)
  umount -l $uploads
  expect_equal 'status of what fits' 201 "$status"
  expect_equal 'status of what would fill it' 507 "$full"
  expect_equal code no_capacity "$refusal"
  expect_equal 'files kept' 1 "$kept"
}

test_service_manager_is_told() {
  local pid
  kill_chaosd
  socat -u UNIX-RECV:/tmp/notify,unlink-early OPEN:/tmp/told,creat,append,trunc &
  wait_until 10 test -S /tmp/notify
  NOTIFY_SOCKET=/tmp/notify WATCHDOG_USEC=2000000 start_chaosd
  wait_until 20 grep -q READY=1 /tmp/told
  wait_until 20 grep -q WATCHDOG=1 /tmp/told
  pid=$(pidof chaosd)
  kill "$pid"
  wait_until 20 test ! -d "/proc/$pid"
  grep -q STOPPING=1 /tmp/told
  kill %1
  start_chaosd
}

# The rights that packaging/systemd/chaosd.service leaves it.
test_bounded_rights_are_enough() {
  local rights
  rights=$(sed -n 's/^CapabilityBoundingSet=//p' packaging/systemd/chaosd.service | tr 'A-Z' 'a-z' | sed 's/cap_/+/g; s/ /,/g')
  kill_chaosd
  setpriv --no-new-privs --bounding-set "-all,$rights" chaosd >>/var/log/chaos/chaosd.log 2>&1 &
  wait_until 60 daemon_answers
  chaos create --name r --image $host_image --memory 4 --vif bridge=$bridge,ip=10.1.0.3/16 >/dev/null
  wait_until 20 answers 10.1.0.3
  chaos vif add r bridge=$bridge >/dev/null
  chaos vif remove r 1
  chaos set r --weight 512 >/dev/null
  chaos rename r s >/dev/null
  chaos reboot s --force >/dev/null
  wait_until 20 answers 10.1.0.3
  chaos destroy s
  ip link add under9 type dummy
  ip address add 10.98.0.9/24 dev under9
  ip link set under9 up
  chaos lan create bounded --vni 991 --mode static --vtep 10.98.0.9 >/dev/null
  chaos lan info bounded >/dev/null
  chaos lan delete bounded
  # Under systemd FRR is its own service, with rights of its own.
  sed -i s/^bgpd=no/bgpd=yes/ /etc/frr/daemons
  /usr/lib/frr/frrinit.sh start >/dev/null 2>&1
  chaos lan evpn enable --as 65000 --neighbor 10.98.0.1 >/dev/null
  chaos lan create bounded --vni 991 --vtep 10.98.0.9 >/dev/null
  expect_equal 'mode of the LAN' evpn "$(chaos lan info bounded --format json | jq -r .mode)"
  chaos lan delete bounded
  chaos lan evpn disable
  /usr/lib/frr/frrinit.sh stop >/dev/null 2>&1
  ip link delete under9
  kill_chaosd
  start_chaosd
}
