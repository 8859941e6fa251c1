import Testing

@testable import ContainerNetwork

@Suite struct ParametersTests {
  private static let full = [
    "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/c1",
    "CNI_PATH": "/opt/cni/bin", "CNI_ARGS": "A=1",
  ]

  private func read(_ changes: [String: String?]) throws -> Parameters {
    try Parameters { name in
      if let change = changes[name] { return change }
      return Self.full[name]
    }
  }

  @Test("an ADD's parameters")
  func add() throws {
    let parameters = try read([:])
    #expect(parameters.command == .add)
    #expect(parameters.attachment?.description == "c1:eth0")
    #expect(parameters.namespace == "/run/netns/c1")
    #expect(parameters.path == "/opt/cni/bin")
    #expect(parameters.arguments == "A=1")
    #expect(!parameters.allowsHostNamespace)
  }

  @Test(
    "what a command needs and does not get is named",
    arguments: [
      ("ADD", "CNI_CONTAINERID"), ("ADD", "CNI_IFNAME"), ("ADD", "CNI_NETNS"), ("CHECK", "CNI_NETNS"),
      ("CHECK", "CNI_CONTAINERID"), ("DEL", "CNI_CONTAINERID"), ("DEL", "CNI_IFNAME"),
    ])
  func missing(command: String, variable: String) {
    for value in [nil, ""] as [String?] {
      let error = #expect(throws: CNIError.self) { try read(["CNI_COMMAND": command, variable: value]) }
      #expect(error == CNIError(.invalidEnvironment, "\(variable): missing"))
    }
  }

  @Test("DEL needs no namespace; GC, STATUS and VERSION need nothing of one attachment")
  func optional() throws {
    #expect(try read(["CNI_COMMAND": "DEL", "CNI_NETNS": nil]).namespace == nil)
    for command in ["GC", "STATUS", "VERSION"] {
      let parameters = try read([
        "CNI_COMMAND": command, "CNI_CONTAINERID": nil, "CNI_IFNAME": nil, "CNI_NETNS": nil, "CNI_ARGS": nil,
        "CNI_PATH": nil,
      ])
      #expect(parameters.attachment == nil && parameters.path.isEmpty)
    }
  }

  @Test("commands are the specification's, in its letters", arguments: ["", "add", "LIST", "ADD ", "ADD\n"])
  func unknownCommand(text: String) {
    let error = #expect(throws: CNIError.self) { try read(["CNI_COMMAND": text]) }
    #expect(error?.code == .invalidEnvironment)
    #expect(error?.message.hasPrefix("CNI_COMMAND: ") == true)
  }

  @Test("the host's own namespace only when the runtime insists", arguments: ["1", "true", "TRUE"])
  func override(text: String) throws {
    #expect(try read(["CNI_NETNS_OVERRIDE": text]).allowsHostNamespace)
    #expect(try !read(["CNI_NETNS_OVERRIDE": "0"]).allowsHostNamespace)
  }

  @Test("arguments are read, the last of a key counting")
  func arguments() throws {
    let arguments = try Arguments(parsing: "IgnoreUnknown=1;K8S_POD_NAME=web;MAC=02:00:00:00:00:01;IP=10.0.0.5;")
    #expect(arguments.mac == "02:00:00:00:00:01" && arguments.ip == "10.0.0.5")
    #expect(try Arguments(parsing: "MAC=a;MAC=b=c").mac == "b=c")
    #expect(try Arguments(parsing: "") == Arguments(parsing: ";;"))
    #expect(try Arguments(parsing: "X=1;IgnoreUnknown=true") == Arguments(parsing: "MAC="))
    #expect(try Arguments(parsing: "X=1", ignoresUnknown: true) == Arguments(parsing: ""))
  }

  @Test(
    "other arguments are refused", arguments: ["X=1", "X=1;IgnoreUnknown=0", "MAC", "=1", "IgnoreUnknown=maybe"])
  func badArguments(text: String) {
    let error = #expect(throws: CNIError.self) { try Arguments(parsing: text) }
    #expect(error?.code == .invalidEnvironment)
    #expect(error?.message.hasPrefix("CNI_ARGS: ") == true)
  }
}
