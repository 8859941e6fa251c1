import Glibc

/// The system calls of chaosd and chaos-backend that reach the hypervisor or the kernel's network, counted from
/// outside by strace.
struct SystemCallTrace {
  /// Where a call went.
  enum Destination: Hashable {
    /// Hypercalls and mappings of guests' memory.
    case privcmd
    case eventChannels
    case otherDevice
    /// One a message: a batch in one send counts as its messages.
    case netlink
  }

  struct Call {
    let isOfBackend: Bool
    let destination: Destination
    let messages: Int
  }

  /// chaosd's threads whose work belongs to no request: they are left out.
  private static let background: Set<String> = [
    "chaos-pool", "chaos-watch", "chaos-mend", "chaos-links", "chaos-events", "chaos-journal",
  ]

  private let processes: ChaosProcesses
  private let strace: pid_t
  private let file: String

  /// Attaches to both processes.
  init() throws {
    processes = try ChaosProcesses()
    file = "/tmp/chaos-bench.\(getpid()).trace"
    let nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC)
    defer { close(nowhere) }
    strace = try Program("strace", "-f", "-yy", "-e", "trace=ioctl,sendmsg,sendto", "-o", file).start(
      ["-p", "\(processes.daemon.id)", "-p", "\(processes.backend.id)"], writingTo: nowhere)
    let stopwatch = Stopwatch()
    while !(processes.daemon.isTraced && processes.backend.isTraced) {
      usleep(20_000)
      guard stopwatch.seconds < 20 else {
        _ = try? end()
        throw Failure("strace did not attach in 20 s")
      }
    }
  }

  /// Detaches, and gives what was seen.
  func end() throws -> [Call] {
    kill(strace, SIGINT)
    _ = Program.wait(for: strace, seconds: 20)
    defer { unlink(file) }
    let backend = Set(processes.backend.threads.keys)
    let ignored = Set(processes.daemon.threads.filter { Self.background.contains($0.value) }.keys)
    let text = String(decoding: try readFile(file), as: UTF8.self)
    return text.split(separator: "\n").compactMap { line in
      guard let thread = line.prefixNumber, !ignored.contains(thread) else { return nil }
      return Self.call(line, isOfBackend: backend.contains(thread))
    }
  }

  /// Reads `1234  ioctl(9</dev/xen/privcmd<char 10:57>>, ...`; what a resumed line ends was counted at its start.
  private static func call(_ line: Substring, isOfBackend: Bool) -> Call? {
    guard let start = line.firstIndex(where: \.isLetter), let mark = line.firstIndex(of: "(") else { return nil }
    let name = line[start..<mark]
    let target = line[mark...].prefix { $0 != "," }
    switch name {
    case "ioctl":
      return Call(isOfBackend: isOfBackend, destination: destination(ofRequestTo: target), messages: 1)
    case "sendmsg", "sendto":
      guard target.contains("NETLINK") else { return nil }
      return Call(
        isOfBackend: isOfBackend, destination: .netlink, messages: max(1, line.occurrences(of: "nlmsg_len=")))
    default: return nil
    }
  }

  private static func destination(ofRequestTo target: Substring) -> Destination {
    if target.contains("/privcmd") { return .privcmd }
    return target.contains("/evtchn") ? .eventChannels : .otherDevice
  }
}

extension Substring {
  fileprivate var prefixNumber: pid_t? { pid_t(prefix(while: \.isNumber)) }

  fileprivate func occurrences(of text: String) -> Int {
    var rest = self
    var count = 0
    while let range = rest.firstRange(of: text) {
      count += 1
      rest = rest[range.upperBound...]
    }
    return count
  }
}
