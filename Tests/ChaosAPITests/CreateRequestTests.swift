import Testing

@testable import ChaosAPI

private func request(_ text: String) throws -> CreateRequest {
  try CreateRequest(parsing: Array(text.utf8))
}

private func message(_ body: () throws -> Void) -> String? {
  do {
    try body()
    return nil
  } catch let error as APIError {
    return error.message
  } catch {
    return "\(error)"
  }
}

@Suite("Create requests")
struct CreateRequestTests {
  @Test("LightVM's config and our own keys are read")
  func reads() throws {
    let text = #"""
      {"name": "web", "kernel": "daytime", "ramdisk": "rd", "cmdline": "a=b", "memory": 4, "vcpus": 2,
       "paused": true, "pool": false, "count": 3, "window": 512, "uuid": null,
       "vifs": [{"mac": "52:54:00:00:00:01-52:54:00:00:00:03", "ip": "10.1.0.2-10.1.0.4/24",
                 "gateway": "10.1.0.1", "ip6": "fd00::2-fd00::4/64", "gateway6": "fe80::1",
                 "bridge": "br0", "mtu": 1450}, {"bridge": "br1"}]}
      """#
    let expected = CreateRequest(
      name: "web", image: "daytime", ramdisk: "rd", cmdline: "a=b", memoryMiB: 4, vcpus: 2,
      paused: true,
      vifs: [
        VifRequest(
          mac: "52:54:00:00:00:01-52:54:00:00:00:03", ip: "10.1.0.2-10.1.0.4/24",
          gateway: "10.1.0.1", ip6: "fd00::2-fd00::4/64", gateway6: "fe80::1", bridge: "br0",
          mtu: 1450),
        VifRequest(bridge: "br1"),
      ], pool: false, count: 3, windowKiB: 512)
    #expect(try request(text) == expected)
    try expected.validate()
    #expect(try CreateRequest(json: expected.json) == expected)
  }

  @Test("what is left out has its default")
  func defaults() throws {
    let read = try request(#"{"image": "daytime"}"#)
    #expect(read == CreateRequest(image: "daytime"))
    #expect(read.memoryMiB == 8 && read.vcpus == 1 && read.pool && !read.paused)
    #expect(read.json.description == #"{"kernel":"daytime","memory":8,"vcpus":1}"#)
    #expect(try CreateRequest(json: read.json) == read)
  }

  @Test(
    "wrong shapes are refused by name",
    arguments: [
      ("[]", "the request: expected an object, got an array"),
      (#"{"foo": 1}"#, "unknown key 'foo'"),
      (#"{"vifs": [{"bridge": "b", "foo": 1}]}"#, "unknown key 'foo' in vifs[0]"),
      (#"{"memory": "8"}"#, "memory: expected an integer (MiB), got the string '8'"),
      (#"{"memory": 8.5}"#, "memory: expected an integer (MiB), got a number with a fraction, 8.5"),
      (#"{"vcpus": true}"#, "vcpus: expected an integer, got a boolean, true"),
      (#"{"paused": 1}"#, "paused: expected true or false, got an integer, 1"),
      (#"{"name": ["x"]}"#, "name: expected a string, got an array"),
      (#"{"vifs": {}}"#, "vifs: expected an array, got an object"),
      (#"{"vifs": ["br0"]}"#, "vifs[0]: expected an object, got a string"),
      (#"{"vifs": [{"lan": 7}]}"#, "vifs[0].lan: expected a string, got an integer, 7"),
      (
        #"{"vifs": [{"bridge":"b"},{"bridge": 7}]}"#,
        "vifs[1].bridge: expected a string, got an integer, 7"
      ),
      (#"{"kernel": "a", "image": "a"}"#, "kernel: given together with 'image', which is the same"),
      (#"{"name": "a", "#, "invalid JSON: truncated at byte 14"),
    ] as [(String, String)])
  func refusesShape(text: String, expected: String) {
    #expect(message { _ = try request(text) } == expected)
  }

  @Test(
    "values that cannot be are refused by name",
    arguments: [
      (#""pool":true"#, nil),
      (#""kernel":"""#, "kernel: missing: the image to boot"),
      (#""kernel":"a/b""#, "kernel: only letters, digits and ._- are allowed: 'a/b'"),
      (#""kernel":"a.elf""#, "kernel: ends in '.elf', which is a file's name: 'a.elf'"),
      (
        #""kernel":"sha256:00""#,
        "kernel: expected a stored image's name, or 'sha256:' and 64 hex digits: 'sha256:00'"
      ),
      (#""ramdisk":"..""#, "ramdisk: begins with '.' or '-': '..'"),
      (#""name":"""#, "name: empty"),
      (#""name":"a b""#, "name: only letters, digits and ._- are allowed: 'a b'"),
      (#""name":"é""#, "name: only letters, digits and ._- are allowed: 'é'"),
      (#""name":"12""#, "name: digits only, which is a domain ID: '12'"),
      (#""name":"-a""#, "name: begins with '.' or '-': '-a'"),
      (#""name":"a\n""#, #"name: only letters, digits and ._- are allowed: 'a\n'"#),
      (
        #""name":"01234567-89ab-cdef-0123-456789ABCDEF""#,
        "name: reads as a UUID: '01234567-89ab-cdef-0123-456789ABCDEF'"
      ),
      (#""uuid":"1""#, "uuid: expected 8-4-4-4-12 hex digits: '1'"),
      (
        #""uuid":"00000000-0000-0000-0000-000000000000""#,
        "uuid: all zeroes, which is dom0's: '00000000-0000-0000-0000-000000000000'"
      ),
      (
        #""count":2,"uuid":"01234567-89ab-cdef-0123-456789abcdef""#,
        "uuid: not together with 'count': '01234567-89ab-cdef-0123-456789abcdef'"
      ),
      (#""cmdline":"a\u0000b""#, #"cmdline: contains a NUL byte: 'a\x00b'"#),
      (#""type":"pv""#, "type: expected 'pvh', the only kind of guest that chaos makes: 'pv'"),
      (#""memory":0"#, "memory: must be 1 to 16777216 MiB: '0'"),
      (#""memory":-9223372036854775808"#, "memory: must be 1 to 16777216 MiB: '-9223372036854775808'"),
      (#""vcpus":0"#, "vcpus: must be 1 to 128: '0'"),
      (#""vcpus":129"#, "vcpus: must be 1 to 128: '129'"),
      (#""count":0"#, "count: must be 1 to 10000: '0'"),
      (#""count":-1"#, "count: must be 1 to 10000: '-1'"),
      (#""count":10001"#, "count: must be 1 to 10000: '10001'"),
      (#""window":32"#, "window: must be a power of two, 64 to 16384 KiB: '32'"),
      (#""window":65"#, "window: must be a power of two, 64 to 16384 KiB: '65'"),
      (#""window":32768"#, "window: must be a power of two, 64 to 16384 KiB: '32768'"),
      (#""window":0"#, "window: must be a power of two, 64 to 16384 KiB: '0'"),
    ] as [(String, String?)])
  func refusesValue(member: String, expected: String?) throws {
    let kernel = member.hasPrefix(#""kernel""#) ? "" : #","kernel":"k""#
    let read = try request("{\(member)\(kernel)}")
    #expect(message { try read.validate() } == expected)
  }

  @Test(
    "vifs that cannot be are refused by name",
    arguments: [
      (#""mtu":1500"#, nil),
      (#""mac":"01:00:5e:00:00:01""#, "mac: multicast address: '01:00:5e:00:00:01'"),
      (#""mac":"ff:ff:ff:ff:ff:ff""#, "mac: multicast address: 'ff:ff:ff:ff:ff:ff'"),
      (#""mac":"00:00:00:00:00:00""#, "mac: all zeroes: '00:00:00:00:00:00'"),
      (
        #""mac":"52:54:00:00:00""#, "mac: not a MAC address, as 52:54:00:12:34:56: '52:54:00:00:00'"
      ),
      (
        #""mac":"52-54-00-00-00-01""#,
        "mac: not a MAC address, as 52:54:00:12:34:56: '52-54-00-00-00-01'"
      ),
      (
        #""mac":"52:54:00:00:00:01-52:54:00:00:00:02""#,
        "mac: a range, given without 'count': '52:54:00:00:00:01-52:54:00:00:00:02'"
      ),
      (#""ip":"10.1.0.2""#, "ip: not an address and prefix, as 10.1.0.2/24: '10.1.0.2'"),
      (#""ip":"10.1.0/24""#, "ip: not an address and prefix, as 10.1.0.2/24: '10.1.0/24'"),
      (#""ip":"10.1.0.2/024""#, "ip: not an address and prefix, as 10.1.0.2/24: '10.1.0.2/024'"),
      (#""ip":"10.1.0.2/33""#, "ip: prefix longer than 32: '10.1.0.2/33'"),
      (#""ip":"10.1.0.0/24""#, "ip: the subnet's network or broadcast address: '10.1.0.0/24'"),
      (#""ip":"10.1.0.255/24""#, "ip: the subnet's network or broadcast address: '10.1.0.255/24'"),
      (#""ip":"10.1.0.0/31""#, nil),
      (#""ip":"10.1.0.0/32""#, nil),
      (#""ip":"224.0.0.1/24""#, "ip: multicast address: '224.0.0.1/24'"),
      (#""ip":"127.0.0.1/8""#, "ip: not an address for an interface: '127.0.0.1/8'"),
      (#""ip":"0.0.0.1/8""#, "ip: not an address for an interface: '0.0.0.1/8'"),
      (#""ip":"10.1.0.2/24","gateway":"10.1.0.1""#, nil),
      (
        #""ip":"10.1.0.2/24","gateway":"10.2.0.1""#,
        "gateway: outside the subnet of 10.1.0.2/24: '10.2.0.1'"
      ),
      (#""ip":"10.1.0.2/24","gateway":"10.1.0.2""#, "gateway: the guest's own address: '10.1.0.2'"),
      (#""ip":"10.1.0.2/24","gateway":"x""#, "gateway: not an address, as 10.1.0.1: 'x'"),
      (#""gateway":"10.1.0.1""#, "gateway: given without 'ip': '10.1.0.1'"),
      (#""ip6":"fd00::2/64","gateway6":"fd00::1""#, nil),
      (#""ip6":"fd00::2/64","gateway6":"fe80::1""#, nil),
      (
        #""ip6":"fd00::2/64","gateway6":"fd01::1""#,
        "gateway6: outside the subnet of fd00::2/64, and not link-local: 'fd01::1'"
      ),
      (#""ip6":"fd00::2""#, "ip6: not an address and prefix, as fd00::2/64: 'fd00::2'"),
      (#""ip6":"fd00::2/129""#, "ip6: prefix longer than 128: 'fd00::2/129'"),
      (#""ip6":"ff02::1/64""#, "ip6: multicast address: 'ff02::1/64'"),
      (#""ip6":"::1/64""#, "ip6: not an address for an interface: '::1/64'"),
      (#""gateway6":"fe80::1""#, "gateway6: given without 'ip6': 'fe80::1'"),
      (#""ip6":"fd00::2/64","mtu":1000"#, "mtu: below IPv6's 1280: '1000'"),
      (#""mtu":67"#, "mtu: must be 68 to 65535: '67'"),
      (#""mtu":65536"#, "mtu: must be 68 to 65535: '65536'"),
      (
        #""bridge":"""#,
        "bridge: not a device name (1 to 15 characters, no blank, '/', ':' or '%'): ''"
      ),
      (
        #""bridge":"../x""#,
        "bridge: not a device name (1 to 15 characters, no blank, '/', ':' or '%'): '../x'"
      ),
      (
        #""bridge":"sixteen-letters!""#,
        "bridge: not a device name (1 to 15 characters, no blank, '/', ':' or '%'): 'sixteen-letters!'"
      ),
      (#""lan":"red""#, nil),
      (#""lan":"12""#, nil),
      (#""lan":"""#, "lan: empty"),
      (#""lan":"a/b""#, "lan: only letters, digits and ._- are allowed: 'a/b'"),
      (#""lan":"-a""#, "lan: begins with '.' or '-': '-a'"),
      (#""lan":"red","bridge":"br0""#, "lan: given together with 'bridge': 'red'"),
      (#""bridge":null"#, "bridge: missing, and 'lan' too: one of them is needed"),
    ] as [(String, String?)])
  func refusesVif(members: String, problem: String?) throws {
    let bridge = members.contains(#""bridge""#) || members.hasPrefix(#""lan""#) ? "" : #","bridge":"br0""#
    let read = try request(
      #"{"kernel":"k","vifs":[{"bridge":"b"},{\#(members)\#(bridge)}]}"#)
    #expect(message { try read.validate() } == problem.map { "vifs[1].\($0)" })
    // Alone it is a request of its own, in which fields have no path.
    let alone = read.vifs[1]
    #expect(try VifRequest(json: alone.json) == alone)
    #expect(message { try alone.validate() } == problem)
  }

  @Test(
    "with a count, addresses are ranges that reach",
    arguments: [
      (#""mac":"52:54:00:00:00:fe-52:54:00:00:01:00""#, nil),
      (
        #""mac":"52:54:00:00:00:01""#,
        "mac: one address for 3 guests, expected a range FIRST-LAST: '52:54:00:00:00:01'"
      ),
      (
        #""mac":"52:54:00:00:00:01-52:54:00:00:00:02""#,
        "mac: range has fewer than 3 addresses: '52:54:00:00:00:01-52:54:00:00:00:02'"
      ),
      (
        #""mac":"52:54:00:00:00:03-52:54:00:00:00:01""#,
        "mac: not a MAC address, as 52:54:00:12:34:56: '52:54:00:00:00:03-52:54:00:00:00:01'"
      ),
      (#""ip":"10.1.0.2-10.1.0.4/24""#, nil),
      (
        #""ip":"10.1.0.2/24""#,
        "ip: one address for 3 guests, expected a range FIRST-LAST: '10.1.0.2/24'"
      ),
      (
        #""ip":"10.1.0.2-10.1.0.3/24""#,
        "ip: range has fewer than 3 addresses: '10.1.0.2-10.1.0.3/24'"
      ),
      (#""ip":"10.1.0.250-10.1.1.4/24""#, "ip: range leaves its subnet: '10.1.0.250-10.1.1.4/24'"),
      (
        #""ip":"10.1.0.250-10.1.0.255/24""#,
        "ip: the subnet's network or broadcast address: '10.1.0.250-10.1.0.255/24'"
      ),
      (
        #""ip":"10.1.0.1-10.1.0.4/24","gateway":"10.1.0.3""#,
        "gateway: the guest's own address: '10.1.0.3'"
      ),
      (#""ip6":"fd00::2-fd00::4/64""#, nil),
      (
        #""ip6":"fd00::2-fd00::3/64""#,
        "ip6: range has fewer than 3 addresses: 'fd00::2-fd00::3/64'"
      ),
      (
        #""ip6":"fd00::2-fd01::3/64""#,
        "ip6: range leaves its subnet: 'fd00::2-fd01::3/64'"
      ),
    ] as [(String, String?)])
  func ranges(members: String, problem: String?) throws {
    let read = try request(
      #"{"kernel":"k","count":3,"vifs":[{\#(members),"bridge":"br0"}]}"#)
    #expect(message { try read.validate() } == problem.map { "vifs[0].\($0)" })
  }

  @Test("two vifs do not share a MAC address")
  func sharedMACs() throws {
    var request = CreateRequest(
      image: "k",
      vifs: [
        VifRequest(mac: "52:54:00:00:00:01", bridge: "a"), VifRequest(bridge: "a"),
        VifRequest(mac: "52:54:00:00:00:01", bridge: "b"),
      ])
    #expect(
      message { try request.validate() }
        == "vifs[2].mac: also given to vifs[0]: '52:54:00:00:00:01'")
    request.count = 2
    request.vifs[0].mac = "52:54:00:00:00:01-52:54:00:00:00:02"
    request.vifs[2].mac = "52:54:00:00:00:02-52:54:00:00:00:03"
    #expect(message { try request.validate() }?.hasPrefix("vifs[2].mac: also given") == true)
    request.vifs[2].mac = "52:54:00:00:00:03-52:54:00:00:00:04"
    try request.validate()
  }

  @Test("limits of length and number hold at their edges")
  func edges() throws {
    var request = CreateRequest(name: String(repeating: "n", count: 63), image: "k")
    request.cmdline = String(repeating: "c", count: 1024)
    request.vifs = Array(repeating: VifRequest(bridge: "b"), count: 15)
    try request.validate()
    request.count = 1
    try request.validate()
    request.count = 2
    #expect(
      message { try request.validate() }?.hasPrefix("name: longer than 63 characters with") == true)
    request.name = String(repeating: "n", count: 61)
    try request.validate()
    request.count = 10
    #expect(message { try request.validate() } != nil)
    request.count = nil
    request.cmdline += "c"
    #expect(
      message { try request.validate() }?.hasPrefix("cmdline: longer than 1024 bytes: 'c") == true)
    request.cmdline = ""
    request.vifs.append(VifRequest(bridge: "b"))
    #expect(message { try request.validate() } == "vifs: more than 15: '16'")
    request.vifs = []
    request.name = String(repeating: "n", count: 64)
    #expect(
      message { try request.validate() }?.hasPrefix("name: longer than 63 characters: ") == true)
  }

  @Test("a count stands for so many single requests")
  func expansion() throws {
    let request = CreateRequest(
      name: "web", image: "k",
      vifs: [
        VifRequest(
          mac: "52:54:00:00:00:ff-52:54:00:00:01:10", ip: "10.1.0.9-10.1.0.20/24",
          gateway: "10.1.0.1", ip6: "fd00::ff-fd00::200/64", bridge: "br0")
      ], count: 3)
    try request.validate()
    let singles = request.expanded()
    #expect(singles.map(\.name) == ["web-1", "web-2", "web-3"])
    #expect(
      singles.map(\.vifs[0].mac) == ["52:54:00:00:00:ff", "52:54:00:00:01:00", "52:54:00:00:01:01"])
    #expect(singles.map(\.vifs[0].ip) == ["10.1.0.9/24", "10.1.0.10/24", "10.1.0.11/24"])
    #expect(singles.map(\.vifs[0].ip6) == ["fd00::ff/64", "fd00::100/64", "fd00::101/64"])
    for single in singles {
      #expect(single.count == nil)
      try single.validate()
    }
  }

  @Test("a count of one keeps the name; no count keeps everything; no name stays none")
  func trivialExpansion() {
    var request = CreateRequest(name: "web", image: "k")
    #expect(request.expanded() == [request])
    request.count = 1
    #expect(request.expanded() == [CreateRequest(name: "web", image: "k")])
    request.name = nil
    request.count = 2
    #expect(request.expanded() == [CreateRequest(image: "k"), CreateRequest(image: "k")])
    // Refused by validate(), and no trap here.
    request.count = -5
    #expect(request.expanded().isEmpty)
  }
}

@Suite("References to guests")
struct GuestReferenceTests {
  @Test func kinds() throws {
    #expect(try GuestReference("web-1") == .name("web-1"))
    #expect(try GuestReference("12") == .domid(12))
    #expect(
      try GuestReference("01234567-89AB-cdef-0123-456789abcdef")
        == .uuid("01234567-89ab-cdef-0123-456789abcdef"))
  }

  @Test("what is none", arguments: ["", "..", "a/b", "32752", "99999999999999999999"])
  func refused(text: String) {
    #expect(throws: APIError.self) { try GuestReference(text) }
  }
}
