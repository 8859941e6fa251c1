import CBackends
import Dispatch
import Glibc
import Synchronization
import Testing
import Threads
import Xen

@testable import Backends

/// Runs `body` on a thread that has given up all system calls but those of a back-end. The thread ends with it; others of
/// this process keep theirs.
private func confined<Result: Sendable>(_ body: @escaping @Sendable () -> Result) throws -> Result {
  let result = Mutex<Result?>(nil)
  let done = DispatchSemaphore(value: 0)
  try BackgroundThread.start(name: "confined") {
    precondition(cbackends_set_no_new_privileges() == 0 && cbackends_confine(0) == 0)
    let value = body()
    result.withLock { $0 = value }
    done.signal()
  }
  done.wait()
  return try #require(result.withLock { $0 })
}

@Suite struct ConfinementTests {
  @Test func whatServingDoesNotTakeIsRefused() throws {
    let file = open("/dev/null", O_RDWR | O_CLOEXEC)
    defer { close(file) }
    let codes = try confined { () -> [String: Int32] in
      func code(_ result: Int) -> Int32 { result < 0 ? errno : 0 }
      var number: Int32 = 0
      return [
        "open": code(Int(open("/etc/passwd", O_RDONLY))),
        "socket": code(Int(socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))),
        "kill": code(Int(kill(getppid(), 0))),
        "another ioctl": code(Int(cbackends_ioctl(file, UInt(TIOCGWINSZ), &number))),
        "executable memory": code(
          mmap(nil, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0),
        "unlink": code(Int(unlink("/nonexistent/file"))),
        "chdir": code(Int(chdir("/"))),
      ]
    }
    #expect(codes.allSatisfy { $0.value == EPERM }, "\(codes)")
  }

  @Test func ordinaryMemoryAndFilesAreLeft() throws {
    let folder = TemporaryFolder()
    let file = open("\(folder.path)/file", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    defer { close(file) }
    let isLeft = try confined { () -> Bool in
      let memory = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      guard memory != MAP_FAILED, pwrite(file, "x", 1, 0) == 1, ftruncate(file, 0) == 0 else { return false }
      return [UInt8](repeating: 1, count: 4 << 20).reduce(0) { $0 + Int($1) } == 4 << 20
    }
    #expect(isLeft)
  }

  /// A whole server: connections, requests, refusals, descriptors that come along, and the end of it all.
  @Test func aServerWorksInIt() throws {
    let folder = TemporaryFolder()
    let path = "\(folder.path)/backend.sock"
    let stop = Mutex(false)
    let done = DispatchSemaphore(value: 0)
    let listener = Listener(try ControlSocket.listen(at: path))
    try BackgroundThread.start(name: "confined") {
      guard let server = try? BackendServer(listener: listener.take(), report: { _ in }) else { return }
      precondition(cbackends_set_no_new_privileges() == 0 && cbackends_confine(0) == 0)
      while !stop.withLock({ $0 }) { server.turn(atMost: .milliseconds(20)) }
      done.signal()
    }
    let client = BackendClient(path: path)
    #expect(try client.domains() == [])
    let key = ControlProtocol.DomainKey(domain: DomainID(rawValue: 7), handle: .random())
    let line = Ends.sockets(SOCK_STREAM)
    let refusal = #expect(throws: BackendError.self) {
      try client.perform(.console(key, follow: true, input: false), descriptors: [line.other.raw])
    }
    #expect(refusal?.errno == ENODEV)
    close(line.other.release())
    #expect(hangsUp(line.one.raw))
    let events = try BackendEvents(path: path)
    stop.withLock { $0 = true }
    done.wait()
    _ = consume events
  }

  private final class Listener: Sendable {
    private let socket: Mutex<ControlSocket?>
    init(_ socket: consuming ControlSocket) { self.socket = Mutex(socket) }
    func take() -> ControlSocket { socket.withLock { $0.take()! } }
  }
}

/// The program itself, as the service manager starts it.
@Suite struct ProgramTests {
  private static let program = {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count)
    let own = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
    return own.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/chaos-backend"
  }()

  private final class Process {
    let id: pid_t
    init(_ id: pid_t) { self.id = id }
    deinit {
      kill(id, SIGKILL)
      waitpid(id, nil, 0)
    }
  }

  /// - Parameter descriptors: the most it may have; zero for as many as this process.
  private func start(_ arguments: [String], output: String, descriptors: Int = 0) throws -> Process {
    var files = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&files)
    defer { posix_spawn_file_actions_destroy(&files) }
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, output, O_WRONLY | O_CREAT, 0o600)
    cbackends_spawn_close_rest(&files)
    let script = descriptors == 0 ? "exec \"$0\" \"$@\"" : "ulimit -n \(descriptors) && exec \"$0\" \"$@\""
    let words = ["sh", "-c", script, Self.program] + arguments
    var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    var child = pid_t()
    try #require(posix_spawn(&child, "/bin/sh", &files, nil, &pointers, environ) == 0)
    return Process(child)
  }

  private func threads(of process: pid_t) -> [String] {
    guard let folder = opendir("/proc/\(process)/task") else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if Int(name) != nil { names.append(name) }
    }
    return names
  }

  private func contents(_ path: String) -> String {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = read(file, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
  }

  @Test(.enabled(if: geteuid() == 0))
  func itGivesUpWhatItDoesNotNeed() throws {
    let folder = TemporaryFolder()
    let socket = "\(folder.path)/backend.sock"
    let process = try start(["--socket", socket, "--user", "nobody"], output: "\(folder.path)/output")
    let client = BackendClient(path: socket) { () throws(BackendError) in }
    #expect(try client.domains() == [])
    let status = contents("/proc/\(process.id)/status").split(separator: "\n").map(String.init)
    func value(_ name: String) -> String? {
      status.first { $0.hasPrefix("\(name):") }.map { String($0.dropFirst(name.count + 1)) }
    }
    #expect(value("Uid")?.split(separator: "\t").allSatisfy { $0 == "65534" } == true)
    #expect(value("Groups")?.allSatisfy(\.isWhitespace) == true)
    #expect(value("CapEff") == "\t0000000000000000" && value("CapPrm") == "\t0000000000000000")
    #expect(value("NoNewPrivs") == "\t1")
    #expect(value("Seccomp") == "\t2")
    #expect(contents("/proc/\(process.id)/limits").contains(#/Max core file size +0 +0/#))
    // Every thread, not only the first.
    let threads = threads(of: process.id)
    #expect(threads.count > 1)
    for thread in threads {
      #expect(contents("/proc/\(process.id)/task/\(thread)/status").contains("Seccomp:\t2"))
    }
  }

  @Test(.enabled(if: geteuid() == 0))
  func itDoesNotStayRootUnlessTold() throws {
    let folder = TemporaryFolder()
    let socket = "\(folder.path)/backend.sock"
    func refusal(_ arguments: [String]) throws -> String {
      let process = try start(["--socket", socket] + arguments, output: "\(folder.path)/output")
      var status: Int32 = 0
      waitpid(process.id, &status, 0)
      #expect(status != 0)
      defer { unlink("\(folder.path)/output") }
      return contents("\(folder.path)/output")
    }
    #expect(try refusal([]).contains("--as-root"))
    let missing = try refusal(["--user", "no-such-user"])
    #expect(missing.contains("'no-such-user'") && missing.contains("useradd"))
    #expect(missing.filter { $0 == "\n" }.count == 1)
    // It refused before it listened.
    #expect(access(socket, F_OK) < 0)
    let process = try start(["--socket", socket, "--as-root"], output: "\(folder.path)/output")
    #expect(try BackendClient(path: socket) { () throws(BackendError) in }.domains() == [])
    #expect(contents("/proc/\(process.id)/status").contains("Seccomp:\t2"))
  }

  /// A back-end that was stopped and goes on serves as before: on new connections, without a restart.
  @Test func stoppedAndContinuedItServesAgain() throws {
    let folder = TemporaryFolder()
    let socket = "\(folder.path)/backend.sock"
    let process = try start(["--socket", socket, "--as-root"], output: "\(folder.path)/output")
    var limits = BackendClient.Limits()
    limits.request = .milliseconds(500)
    let client = BackendClient(path: socket, limits: limits) { () throws(BackendError) in }
    #expect(try client.domains() == [])
    kill(process.id, SIGSTOP)
    let error = #expect(throws: BackendError.self) { try client.domains() }
    #expect(error?.errno == ETIMEDOUT)
    kill(process.id, SIGCONT)
    let end = ContinuousClock.now + .seconds(20)
    while (try? client.domains()) == nil && ContinuousClock.now < end { usleep(10_000) }
    #expect(try client.domains() == [])
  }

  /// With no descriptor left it takes no connection, and does not spin at the one that waits; it goes on once there are.
  @Test func outOfDescriptorsItWaitsAndGoesOn() throws {
    let folder = TemporaryFolder()
    let socket = "\(folder.path)/backend.sock"
    let process = try start(
      ["--socket", socket, "--as-root"], output: "\(folder.path)/output", descriptors: 24)
    let first = BackendClient(path: socket) { () throws(BackendError) in }
    #expect(try first.domains() == [])
    var held: [Int32] = []
    defer { for descriptor in held { close(descriptor) } }
    for _ in 0..<20 {
      let connection = try ControlSocket.connect(to: socket, within: .seconds(20))
      held.append(dup(connection.raw))
    }
    let before = try cpuTime(process.id)
    usleep(1_000_000)
    #expect(try cpuTime(process.id) - before < 50, "it spins")
    // Who is connected is served, but for a request that needs a descriptor.
    #expect(try first.domains() == [])
    let key = ControlProtocol.DomainKey(domain: DomainID(rawValue: 7), handle: .random())
    let line = Ends.sockets(SOCK_STREAM)
    let refusal = #expect(throws: BackendError.self) {
      try first.perform(.console(key, follow: true, input: false), descriptors: [line.other.raw])
    }
    #expect(refusal?.errno == EMFILE)
    #expect(try first.domains() == [])
    for descriptor in held { close(descriptor) }
    held = []
    let end = ContinuousClock.now + .seconds(20)
    let second = BackendClient(path: socket) { () throws(BackendError) in }
    while (try? second.domains()) == nil && ContinuousClock.now < end { usleep(10_000) }
    #expect(try second.domains() == [])
  }

  /// In hundredths of a second.
  private func cpuTime(_ process: pid_t) throws -> Int {
    let fields = contents("/proc/\(process)/stat").split(separator: ")").last?.split(separator: " ") ?? []
    return try #require(
      fields.count > 12 ? Int(fields[11]).flatMap { user in Int(fields[12]).map { user + $0 } } : nil)
  }
}
