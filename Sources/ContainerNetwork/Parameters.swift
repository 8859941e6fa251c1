/// The parameters of a call, which the runtime passes in the environment.
public struct Parameters: Sendable {
  public enum Command: String, Sendable, CaseIterable {
    case add = "ADD"
    case del = "DEL"
    case check = "CHECK"
    case gc = "GC"
    case status = "STATUS"
    case version = "VERSION"
  }

  public let command: Command
  /// Nil for the commands that are not about one attachment.
  public let attachment: AttachmentID?
  /// The path of the container's network namespace; nil where it was not given.
  public let namespace: String?
  public let arguments: String
  /// The folders that plug-ins are looked for in.
  public let path: String
  /// Whether the container may be the host's own namespace.
  public let allowsHostNamespace: Bool

  /// - Parameter environment: the value of a variable; nil when it is not set.
  /// - Throws: `CNIError` that names the variable.
  public init(environment: (String) -> String?) throws(CNIError) {
    func value(_ name: String) -> String? { environment(name).flatMap { $0.isEmpty ? nil : $0 } }
    func required(_ name: String) throws(CNIError) -> String {
      guard let value = value(name) else { throw CNIError(.invalidEnvironment, "\(name): missing") }
      return value
    }

    let name = try required("CNI_COMMAND")
    guard let command = Command(rawValue: name) else {
      let known = Command.allCases.map(\.rawValue).joined(separator: ", ")
      throw .refused("CNI_COMMAND", "not one of \(known)", name, code: .invalidEnvironment)
    }
    self.command = command
    switch command {
    case .add, .check, .del:
      attachment = try AttachmentID(
        container: try required("CNI_CONTAINERID"), interface: try required("CNI_IFNAME"))
    case .gc, .status, .version:
      attachment = nil
    }
    // Of a container that is on its way out there may be no namespace left.
    namespace = command == .add || command == .check ? try required("CNI_NETNS") : value("CNI_NETNS")
    arguments = value("CNI_ARGS") ?? ""
    path = value("CNI_PATH") ?? ""
    let override = value("CNI_NETNS_OVERRIDE")?.lowercased()
    allowsHostNamespace = override == "1" || override == "true"
  }
}
