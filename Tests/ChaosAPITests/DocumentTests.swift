import Glibc
import Testing

@testable import ChaosAPI

/// The documents of the API say what the code does.
@Suite("Documents")
struct DocumentTests {
  @Test("the config's schema has its keys and limits")
  func configSchema() throws {
    let schema = try JSON(parsing: document("config.schema.json"))
    #expect(keys(schema["properties"]) == Set(CreateRequest.keys))
    #expect(keys(schema["$defs"]?["vif"]?["properties"]) == Set(VifRequest.keys))
    func range(_ key: String, in properties: JSON?) -> ClosedRange<Int>? {
      guard case .integer(let least)? = properties?[key]?["minimum"],
        case .integer(let most)? = properties?[key]?["maximum"]
      else { return nil }
      return Int(least)...Int(most)
    }
    #expect(range("memory", in: schema["properties"]) == CreateRequest.memoryRange)
    #expect(range("vcpus", in: schema["properties"]) == CreateRequest.vcpuRange)
    #expect(range("count", in: schema["properties"]) == CreateRequest.countRange)
    #expect(range("weight", in: schema["properties"]) == Scheduling.weightRange)
    #expect(range("cap", in: schema["properties"]) == Scheduling.capRange)
    #expect(schema["properties"]?["after"]?["maxItems"] == .number(CreateRequest.mostPredecessors))
    for key in keys(GuestPolicies().json) {
      #expect(schema["properties"]?[key]?["default"] == GuestPolicies().json[key])
      #expect(schema["properties"]?[key]?["enum"] == .strings(RestartPolicy.allCases.map(\.rawValue)))
    }
    #expect(range("mtu", in: schema["$defs"]?["vif"]?["properties"]) == CreateRequest.mtuRange)
    #expect(schema["properties"]?["vifs"]?["maxItems"] == .number(CreateRequest.mostVifs))
    #expect(schema["properties"]?["cmdline"]?["maxLength"] == .number(CreateRequest.longestCmdline))
    #expect(schema["properties"]?["memory"]?["default"] == .number(CreateRequest.defaultMemoryMiB))
    guard case .array(let windows)? = schema["properties"]?["window"]?["enum"] else {
      Issue.record("window has no enum")
      return
    }
    for case .integer(let window) in windows {
      try CreateRequest(image: "a", windowKiB: Int(window)).validate()
    }
    #expect(windows.first == .number(CreateRequest.windowRange.lowerBound))
    #expect(windows.last == .number(CreateRequest.windowRange.upperBound))
  }

  @Test("the examples of the schema are good configs")
  func configExamples() throws {
    guard case .array(let examples)? = try JSON(parsing: document("config.schema.json"))["examples"] else {
      Issue.record("no examples")
      return
    }
    for example in examples {
      var request = try CreateRequest(json: example)
      // A file's name is the command line's matter.
      if request.image.contains("/") { request.image = "daytime" }
      try request.validate()
    }
  }

  @Test("the table of error codes is the code's", arguments: APIError.Code.allCases)
  func errorCodes(code: APIError.Code) throws {
    let text = String(decoding: try document("api/openapi.yaml"), as: UTF8.self)
    let row = try #require(text.split(separator: "\n").first { $0.contains("| `\(code.rawValue)` |") })
    let cells = row.split(separator: "|").map { $0.filter { $0 != " " } }.filter { !$0.isEmpty }
    #expect(cells[1] == "\(code.httpStatus)")
    #expect(cells.last == "\(code.exitStatus)")
    #expect(text.contains("            - \(code.rawValue)\n"))
  }

  @Test("the API's document has the keys of what is asked about LANs and EVPN")
  func requestKeys() throws {
    #expect(try properties(of: "LANRequest") == Set(LANRequest.keys))
    #expect(try properties(of: "LANPeer") == Set(LANPeer.keys))
    #expect(try properties(of: "EVPNRequest") == Set(EVPNRequest.keys))
  }

  @Test("the API's document has the keys of what is answered about LANs, EVPN and vifs")
  func answerKeys() throws {
    let lan = LANInfo(
      name: "a", vni: 1, mode: .static, port: 1, mtu: 1, vtep: "a", device: "a", bridge: "a", vxlan: "a",
      isUp: true, state: .waiting, reason: "a")
    #expect(try properties(of: "LANInfo") == keys(lan.json))
    let summary = LANSummary(name: "a", vni: 1, mode: .evpn, mtu: 1, state: .ready, members: 1, bridge: "a")
    #expect(try properties(of: "LANSummary") == keys(summary.json))
    let member = LANMember(interface: "a", kind: .guest, name: "a", vif: 1, mac: "a")
    #expect(try properties(of: "LANMember") == keys(member.json))
    let entry = LANForwarding(mac: "a", interface: "a", destination: "a", kind: .remote, isStatic: true)
    #expect(try properties(of: "LANForwarding") == keys(entry.json))
    #expect(try properties(of: "EVPNStatus") == keys(EVPNStatus(enabled: true, asNumber: 1).json))
    let session = EVPNSession(neighbor: "a", state: "a", uptimeSeconds: 1, routesReceived: 1)
    #expect(try properties(of: "EVPNSession") == keys(session.json))
    let route = EVPNRoute(vni: 1, kind: .mac, mac: "a", vtep: "a", isLocal: true)
    #expect(try properties(of: "EVPNRoute") == keys(route.json))
    let vif = VifInfo(
      index: 1, mac: "a", bridge: "a", lan: "a", tap: "a", ip: "a", gateway: "a", ip6: "a", gateway6: "a", mtu: 1,
      broken: "a")
    #expect(try properties(of: "VifInfo") == keys(vif.json))
  }

  @Test("the API's document has the keys of the life cycle")
  func lifeCycleKeys() throws {
    #expect(try properties(of: "GuestChange") == Set(GuestChange.keys))
    #expect(try properties(of: "RenameRequest") == keys(RenameRequest(name: "a").json))
    #expect(try properties(of: "GuestPolicies") == keys(GuestPolicies().json))
    #expect(try properties(of: "Scheduling") == keys(Scheduling(cpus: "a", weight: 1, cap: 1).json))
    let ended = EndedGuest(name: "a", uuid: "a", reason: .crash, ended: "a", message: "a")
    #expect(try properties(of: "EndedGuest") == keys(ended.json))
    #expect(try properties(of: "GuestList") == keys(GuestList(guests: [], ended: []).json))
    let event = Event(number: 1, time: "a", kind: .ended, guest: "a", uuid: "a", reason: .crash, message: "a")
    #expect(try properties(of: "Event") == keys(event.json))
    #expect(try properties(of: "Health") == keys(Health(checks: []).json))
    #expect(try properties(of: "HealthCheck") == keys(HealthCheck(name: "a", status: .ok, message: "a").json))
    #expect(try properties(of: "Statistics") == keys(Statistics(nanoseconds: 1, guests: []).json))
    let statistics = GuestStatistics(name: "a", uuid: "a", domid: 1, cpuNanoseconds: 1, memoryMiB: 1)
    #expect(try properties(of: "GuestStatistics") == keys(statistics.json))
    #expect(try properties(of: "VifStatistics") == keys(VifStatistics(index: 1).json))
    let guest = GuestInfo(
      name: "a", uuid: "a", domid: 1, state: .ended, memoryMiB: 1, vcpus: 1, image: ImageReference(digest: "a"),
      cmdline: "a", created: "a", cpuSeconds: 1, ready: true, tampered: true, vifs: [])
    #expect(try properties(of: "GuestInfo") == keys(guest.json))
  }

  @Test("the API's document knows every state, end and goal")
  func enumerations() throws {
    let text = String(decoding: try document("api/openapi.yaml"), as: UTF8.self)
    func list(_ values: [String]) -> String { "enum: [\(values.joined(separator: ", "))]" }
    #expect(text.contains(list(GuestState.allCases.map(\.rawValue))))
    #expect(text.contains(list(GuestEnd.allCases.map(\.rawValue))))
    #expect(text.contains(list(WaitGoal.allCases.map(\.rawValue) + ["ended"])))
    #expect(text.contains(list(RestartPolicy.allCases.map(\.rawValue))))
    #expect(text.contains(list(HealthStatus.allCases.map(\.rawValue))))
  }

  /// The keys below `properties` of one of the document's schemas, by their indentation.
  private func properties(of schema: String) throws -> Set<String> {
    let lines = String(decoding: try document("api/openapi.yaml"), as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false)
    let start = try #require(lines.firstIndex { $0 == "    \(schema):" }, "no schema \(schema)")
    let body = lines[(start + 1)...].prefix { $0.isEmpty || $0.hasPrefix("      ") }
    let list = body.drop { $0 != "      properties:" }.dropFirst()
    return Set(
      list.prefix { $0.hasPrefix("        ") }.compactMap { line in
        line.dropFirst(8).first == " " ? nil : line.dropFirst(8).split(separator: ":").first.map(String.init)
      })
  }

  private func keys(_ json: JSON?) -> Set<String> {
    guard case .object(let object)? = json else { return [] }
    return Set(object.members.map(\.key))
  }

  private func document(_ name: String) throws -> [UInt8] {
    let here = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let file = open("/\(here)/docs/\(name)", O_RDONLY)
    defer { close(file) }
    try #require(file >= 0, "no docs/\(name)")
    return [UInt8](unsafeUninitializedCapacity: 1 << 20) { buffer, count in
      count = max(0, read(file, buffer.baseAddress, buffer.count))
    }
  }
}
