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
