import ChaosAPI
import Glibc
import Testing

/// The program as it is built, against a scripted daemon. `CHAOS_PROGRAM` names another build of it.
@Suite("The program")
struct ProgramTests {
  private static let guest =
    #"{"name":"web","uuid":"01234567-89ab-cdef-0123-456789abcdef","domid":7,"state":"running","memoryMiB":8,"#
    + #""vcpus":1,"image":{"digest":"sha256:00"},"cmdline":"","created":"2026-03-01T12:00:00Z","#
    + #""cpuSeconds":0.25,"ready":true,"tampered":false,"restarts":0,"policies":{"onPoweroff":"destroy","#
    + #""onReboot":"restart","onCrash":"preserve"},"autostart":false,"after":[],"scheduling":{},"vifs":[]}"#
  private static let created = #"{"guest":"# + guest + #","shell":"hot","microseconds":812}"#
  private static let version = "chaos \(Product.version)\n"

  @Test("create prints the name, or all there is to know")
  func create() throws {
    let text = try run(["create", "--image", "daytime"], answers: [answer("201 Created", Self.created)])
    #expect(text == Outcome(status: 0, output: "web\n"))
    let json = try run(
      ["create", "--image", "daytime", "--format", "json"], answers: [answer("201 Created", Self.created)])
    #expect(json == Outcome(status: 0, output: Self.created + "\n"))
  }

  @Test("create of a file sends it first, and its digest then")
  func createFromFile() throws {
    let digest = "sha256:" + String(repeating: "ab", count: 32)
    let image = #"{"digest":"\#(digest)","size":3,"added":"2026-03-01T12:00:00Z"}"#
    let server = ScriptedServer(answers: [answer("201 Created", image), answer("201 Created", Self.created)])
    let outcome = try Program(["create", "--image", "/etc/hostname", "--socket", server.path]).finish()
    #expect(outcome == Outcome(status: 0, output: "web\n"))
    let requests = server.requests()
    #expect(requests[0].hasPrefix("POST /v1/images HTTP/1.1\r\n"))
    #expect(requests[1].contains(#""kernel":"\#(digest)""#))
  }

  @Test("a config comes from standard input, and a refusal is one line")
  func configFromInput() throws {
    let refusal = #"{"error":{"code":"conflict","message":"name: taken: 'web'","field":"name"}}"#
    let server = ScriptedServer(answers: [answer("409 Conflict", refusal)])
    let outcome = try Program(
      ["create", "-", "--socket", server.path], input: #"{"kernel":"daytime","name":"web"}"#
    ).finish()
    #expect(outcome == Outcome(status: 4, errors: "chaos: name: taken: 'web'\n"))
    _ = server.requests()
  }

  @Test("what has no end, or is too large, is no image", .timeLimit(.minutes(1)))
  func noImages() throws {
    for arguments in [["create", "--image", "/dev/zero"], ["image", "add", "a", "/dev/zero"]] {
      #expect(
        try run(arguments, answers: [])
          == Outcome(status: 2, errors: "chaos: /dev/zero: neither a file nor a pipe\n"))
    }
    var template = Array("/tmp/chaos-api-test-XXXXXX".utf8CString)
    let file = mkstemp(&template)
    let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    defer { unlink(path) }
    // All hole: it takes no room.
    #expect(ftruncate(file, 1100 << 20) == 0)
    #expect(
      try run(["create", "--image", path], answers: [])
        == Outcome(status: 2, errors: "chaos: \(path): larger than 1024 MiB\n"))
  }

  @Test("a pipe is sent as it comes")
  func createFromPipe() throws {
    let digest = "sha256:" + String(repeating: "ab", count: 32)
    let image = #"{"digest":"\#(digest)","size":3,"added":"2026-03-01T12:00:00Z"}"#
    let server = ScriptedServer(answers: [answer("201 Created", image), answer("201 Created", Self.created)])
    let outcome = try Program(
      ["create", "--image", "/dev/stdin", "--socket", server.path], input: "an image"
    ).finish()
    #expect(outcome == Outcome(status: 0, output: "web\n"))
    let upload = server.requests()[0]
    #expect(upload.hasSuffix("Transfer-Encoding: chunked\r\n\r\n8\r\nan image\r\n0\r\n\r\n"))
  }

  @Test("bytes that are no UTF-8 are refused and not changed")
  func otherEncodings() throws {
    let after = try runShell(#"exec "$0" create --image daytime --cmdline $'name=\xff\xfe'"#)
    #expect(after.status == 2 && after.output == "")
    #expect(after.errors.hasPrefix("chaos: the argument after --cmdline is not UTF-8: 'name="))
    #expect(after.errors.hasSuffix(" (see 'chaos --help')\n"))
    let inside = try runShell(#"exec "$0" create --cmdline=$'\xc3('"#)
    #expect(inside.status == 2 && inside.errors.hasPrefix("chaos: the argument is not UTF-8: '--cmdline="))
  }

  @Test("a stream that is cut off is not taken for all there is", arguments: ["logs", "console"])
  func cutOff(command: String) throws {
    let outcome = try run(
      [command, "web"],
      answers: ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nline \r\n"])
    #expect(outcome.status == 7 && outcome.output == "line ")
    #expect(outcome.errors.hasPrefix("chaos: web: cut off, there may be more: chaosd at "))
    let unreachable = try Program([command, "web", "--socket", "/nonexistent/s"]).finish()
    #expect(unreachable.errors == "chaos: cannot reach chaosd at /nonexistent/s: is it running?\n")
  }

  @Test("a guest that ends at once is not taken for one that runs")
  func endedAtOnce() throws {
    let gone = answer("404 Not Found", #"{"error":{"code":"not_found","message":"no guest 'x'"}}"#)
    let event =
      #"{"number":3,"time":"t","kind":"ended","guest":"web","uuid":"u","reason":"crash","message":"triple fault"}"#
    let waited = try run(
      ["create", "--image", "daytime", "--wait"],
      answers: [answer("201 Created", Self.created), gone, gone, answer("200 OK", event + "\n")])
    #expect(
      waited
        == Outcome(
          status: 4, output: "web\n", errors: "chaos: guest 'web' crashed before it was ready: triple fault\n"))
    let crashed = Self.guest.replacing(#""state":"running""#, with: #""state":"crashed""#)
    let attached = try run(
      ["create", "--image", "daytime", "--console"],
      answers: [
        answer("201 Created\r\nConnection: close", Self.created), answer("200 OK", "boot"),
        answer("200 OK", crashed),
      ])
    #expect(attached == Outcome(status: 1, output: "web\nboot", errors: "chaos: guest 'web' crashed\n"))
    let poweredOff = try run(
      ["console", "web"],
      answers: [
        answer("200 OK", "bye"), gone, answer("200 OK", event.replacing("crash", with: "poweroff") + "\n"),
      ])
    #expect(poweredOff == Outcome(status: 0, output: "bye"))
  }

  @Test("a count prints names as they come; the end may be an error")
  func createSeveral() throws {
    let made = try run(
      ["create", "--image", "daytime", "--count", "2"],
      answers: [answer("200 OK", "\(Self.created)\n\(Self.created)\n")])
    #expect(made == Outcome(status: 0, output: "web\nweb\n"))
    let refused = try run(
      ["create", "--image", "daytime", "--count", "2"],
      answers: [
        answer("200 OK", "\(Self.created)\n" + #"{"error":{"code":"no_capacity","message":"no memory"}}"# + "\n")
      ])
    #expect(refused == Outcome(status: 5, output: "web\n", errors: "chaos: no memory\n"))
  }

  @Test("a wait that takes too long leaves the name printed")
  func waitTimesOut() throws {
    let outcome = try run(
      ["create", "--image", "daytime", "--wait", "--timeout", "1"],
      answers: [
        answer("201 Created", Self.created),
        answer("504 Gateway Timeout", #"{"error":{"code":"timeout","message":"not ready after 1 s"}}"#),
      ])
    #expect(outcome == Outcome(status: 6, output: "web\n", errors: "chaos: web: not ready after 1 s\n"))
  }

  @Test("what is wrong is refused before anything is asked")
  func refusedLocally() throws {
    let vif = "bridge=br0,mac=01:00:5e:00:00:01"
    #expect(
      try run(["create", "--image", "daytime", "--vif", vif], answers: [])
        == Outcome(status: 2, errors: "chaos: vifs[0].mac: multicast address: '01:00:5e:00:00:01'\n"))
    #expect(
      try run(["info"], answers: [])
        == Outcome(status: 2, errors: "chaos: missing REF (see 'chaos info --help')\n"))
  }

  @Test("several guests are each tried, and the first error's status is returned")
  func several() throws {
    let notFound = #"{"error":{"code":"not_found","message":"no guest 'b'"}}"#
    let wrongState = #"{"error":{"code":"wrong_state","message":"it is dying"}}"#
    let outcome = try run(
      ["pause", "a", "b", "c", "d"],
      answers: [
        answer("200 OK", Self.guest), answer("404 Not Found", notFound), answer("409 Conflict", wrongState),
        answer("200 OK", Self.guest),
      ])
    #expect(outcome == Outcome(status: 3, errors: "chaos: no guest 'b'\nchaos: c: it is dying\n"))
  }

  @Test("without a daemon there is one line, and no second try")
  func noDaemon() throws {
    let outcome = try Program(["destroy", "web", "b", "--socket", "/nonexistent/s"]).finish()
    #expect(
      outcome
        == Outcome(status: 7, errors: "chaos: cannot reach chaosd at /nonexistent/s: is it running?\n"))
  }

  @Test("the socket comes from the environment where no option names it")
  func environment() throws {
    let server = ScriptedServer(answers: [answer("200 OK", #"{"guests":[]}"#)])
    let outcome = try Program(["list", "--format", "json"], environment: ["CHAOS_SOCKET=\(server.path)"]).finish()
    #expect(outcome == Outcome(status: 0, output: #"{"guests":[]}"# + "\n"))
    _ = server.requests()
  }

  @Test("the version needs no daemon, and arguments survive an empty environment")
  func version() throws {
    #expect(try Program(["--version"]).finish() == Outcome(status: 0, output: Self.version))
    #expect(try Program(["--version"], environment: []).finish() == Outcome(status: 0, output: Self.version))
    let unknown = try Program(["frobnicate", ""], environment: []).finish()
    #expect(unknown.errors == "chaos: unknown command 'frobnicate' (see 'chaos --help')\n")
    #expect(try Program([]).finish().errors == "chaos: missing command (see 'chaos --help')\n")
  }

  @Test("a log is streamed as it is")
  func logs() throws {
    let outcome = try run(["logs", "web"], answers: [answer("200 OK", "line 1\r\nline \u{1b}[1m2")])
    #expect(outcome == Outcome(status: 0, output: "line 1\r\nline \u{1b}[1m2"))
  }

  @Test("a console without a terminal sends its input, and ends with the guest")
  func console() throws {
    // The stream of output is one connection, the input another; the scripted daemon takes one after the other,
    // so here the guest ends first.
    let outcome = try run(["console", "web"], answers: [answer("200 OK", "hello")])
    #expect(outcome == Outcome(status: 0, output: "hello"))
  }

  @Test("an interrupted count says what to do", .timeLimit(.minutes(1)))
  func interrupted() throws {
    // An answer that does not end.
    let server = ScriptedServer(answers: [
      "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n\(Self.created)\n",
      "Connection: close",
    ])
    let program = try Program(["create", "--image", "daytime", "--count", "2", "--socket", server.path])
    #expect(program.read(atLeast: "web\n") == "web\n")
    program.signal(SIGINT)
    let outcome = program.finish()
    #expect(outcome.status == 130)
    #expect(outcome.errors.hasPrefix("chaos: interrupted: chaosd finishes what it has accepted;"))
    // Lets the script end.
    _ = try? Program(["version", "--socket", server.path]).finish()
    _ = server.requests()
  }

  @Test("a reader that goes away ends the program without a word")
  func brokenPipe() throws {
    let program = try Program(["help", "--pages"], outputIsClosed: true)
    let outcome = program.finish()
    #expect(outcome == Outcome(status: 128 + SIGPIPE))
  }

  @Test(
    "a console restores the terminal, however it ends", .timeLimit(.minutes(1)),
    arguments: ["escape", "SIGTERM", "SIGHUP", "end"])
  func consoleOnTerminal(way: String) throws {
    let streamed = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhello"
    let server = ScriptedServer(answers: [way == "end" ? answer("200 OK", "hello") : streamed, "Connection: close"])
    let terminal = try Terminal()
    let before = terminal.flags
    let program = try Program(["console", "web", "--socket", server.path], terminal: terminal)
    terminal.read(until: "hello")
    switch way {
    case "escape":
      #expect(terminal.flags != before, "raw while attached")
      terminal.type("\u{1d}")
    case "SIGTERM": program.signal(SIGTERM)
    case "SIGHUP": program.signal(SIGHUP)
    default: break
    }
    let status = program.finish().status
    let expected: [String: Int32] = ["SIGTERM": 128 + SIGTERM, "SIGHUP": 128 + SIGHUP]
    #expect(status == expected[way] ?? 0)
    #expect(terminal.flags == before)
    _ = try? Program(["version", "--socket", server.path]).finish()
    _ = server.requests()
  }

  @Test("a LAN's VNI is printed, and its warnings on standard error")
  func lanCreate() throws {
    let lan =
      #"{"name":"red","vni":100,"mode":"evpn","bridge":"lan100","up":false,"state":"waiting","reason":"no eth0","#
      + #""peers":[],"attached":[],"members":[],"forwarding":[],"drops":0,"warnings":["w1","w2"]}"#
    let warnings =
      "chaos: warning: LAN 'red' is waiting: no eth0\nchaos: warning: w1\nchaos: warning: w2\n"
    #expect(
      try run(["lan", "create", "red"], answers: [answer("201 Created", lan)])
        == Outcome(status: 0, output: "100\n", errors: warnings))
    #expect(
      try run(["lan", "info", "red", "--format", "json"], answers: [answer("200 OK", lan)])
        == Outcome(status: 0, output: lan + "\n", errors: warnings))
    #expect(
      try run(["lan", "create", "red", "--vni", "0"], answers: [])
        == Outcome(status: 2, errors: "chaos: vni: must be 1 to 16777215: '0'\n"))
  }

  @Test("commands of three words have their help, and what is missing is said")
  func threeWords() throws {
    #expect(
      try Program(["lan", "peer"]).finish()
        == Outcome(status: 2, errors: "chaos: missing command of 'lan peer' (see 'chaos lan peer --help')\n"))
    #expect(
      try Program(["lan", "peer", "ad"]).finish().errors
        == "chaos: unknown command 'lan peer ad'; did you mean 'lan peer add'? (see 'chaos lan peer --help')\n")
    for arguments in [["lan", "peer", "--help"], ["help", "lan", "peer"]] {
      #expect(try Program(arguments).finish().output.hasPrefix("Usage: chaos lan peer COMMAND"))
    }
    for arguments in [["lan", "peer", "add", "--help"], ["help", "lan", "peer", "add"]] {
      #expect(try Program(arguments).finish().output.hasPrefix("Usage: chaos lan peer add [OPTION...] NAME"))
    }
    #expect(
      try run(["lan", "peer", "remove", "red", "192.0.2.2"], answers: ["HTTP/1.1 204 No Content\r\n\r\n"])
        == Outcome(status: 0))
  }

  @Test("LANs are each tried, and the first error's status is returned")
  func deleteLANs() throws {
    let conflict = #"{"error":{"code":"conflict","message":"LAN 'b' has 2 members"}}"#
    let outcome = try run(
      ["lan", "delete", "a", "b", "c"],
      answers: [
        "HTTP/1.1 204 No Content\r\n\r\n", answer("409 Conflict", conflict), "HTTP/1.1 204 No Content\r\n\r\n",
      ])
    #expect(outcome == Outcome(status: 4, errors: "chaos: LAN 'b' has 2 members\n"))
  }

  @Test("a vif's index is printed; one that cannot be is refused before anything is asked")
  func vifs() throws {
    let vif = #"{"index":1,"mac":"m","bridge":"lan100","lan":"red","tap":"vif7.1","mtu":1450}"#
    #expect(
      try run(["vif", "add", "web", "lan=red"], answers: [answer("201 Created", vif)])
        == Outcome(status: 0, output: "1\n"))
    #expect(
      try run(["vif", "add", "web", "lan=red,bridge=br0"], answers: [])
        == Outcome(status: 2, errors: "chaos: lan: given together with 'bridge': 'red'\n"))
    #expect(
      try run(["vif", "remove", "web", "15"], answers: [])
        == Outcome(
          status: 2, errors: "chaos: INDEX: expected 0 to 14, got '15' (see 'chaos vif remove --help')\n"))
    #expect(
      try run(["vif", "list", "web", "--format", "json"], answers: [answer("200 OK", Self.guest)])
        == Outcome(status: 0, output: #"{"vifs":[]}"# + "\n"))
  }

  @Test("the completion script is bash")
  func bashSyntax() throws {
    let script = try Program(["completion", "bash"]).finish().output
    #expect(try Program(["-n"], input: script, path: "/bin/bash").finish() == Outcome(status: 0))
  }

  /// A line of bash, with the program as its name.
  private func runShell(_ line: String) throws -> Outcome {
    try Program(["-c", line, Program.chaosPath], path: "/bin/bash").finish()
  }

  private func run(_ arguments: [String], answers: [String]) throws -> Outcome {
    let server = ScriptedServer(answers: answers)
    let outcome = try Program(arguments + ["--socket", server.path]).finish()
    _ = server.requests()
    return outcome
  }
}

struct Outcome: Equatable {
  var status: Int32
  var output = ""
  var errors = ""
}

/// A running process, its streams held.
final class Program {
  private let process: pid_t
  private let output: Int32
  private let errors: Int32
  private var readAhead = ""

  init(
    _ arguments: [String], input: String = "", environment: [String] = [], path: String? = nil,
    outputIsClosed: Bool = false, terminal: Terminal? = nil
  ) throws {
    let path = path ?? Self.chaosPath
    let inputPipe = Self.pipe()
    let outputPipe = Self.pipe()
    let errorPipe = Self.pipe()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let terminal {
      for stream in 0...2 { posix_spawn_file_actions_adddup2(&actions, terminal.slave, Int32(stream)) }
    } else {
      posix_spawn_file_actions_adddup2(&actions, inputPipe.read, 0)
      posix_spawn_file_actions_adddup2(&actions, outputPipe.write, 1)
      posix_spawn_file_actions_adddup2(&actions, errorPipe.write, 2)
    }
    if outputIsClosed { close(outputPipe.read) }
    // The test runner ignores or blocks signals that the program is to feel.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var all = sigset_t()
    var none = sigset_t()
    sigfillset(&all)
    sigemptyset(&none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
    var argv: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
    var process: pid_t = 0
    let result = descriptors.withLock { _ in
      posix_spawn(&process, path, &actions, &attributes, &argv, &envp)
    }
    self.process = process
    for pointer in argv + envp { free(pointer) }
    close(inputPipe.read)
    close(outputPipe.write)
    close(errorPipe.write)
    if !input.isEmpty { _ = Glibc.write(inputPipe.write, input, input.utf8.count) }
    close(inputPipe.write)
    output = outputIsClosed ? -1 : outputPipe.read
    errors = errorPipe.read
    try #require(result == 0, "cannot run \(path)")
  }

  /// Beside the test runner, unless the environment says where.
  static let chaosPath: String = {
    if let path = getenv("CHAOS_PROGRAM") { return String(cString: path) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let length = buffer.withUnsafeMutableBytes { bytes in
      readlink("/proc/self/exe", bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    let runner = String(decoding: buffer[..<max(0, length)], as: UTF8.self)
    return runner.prefix(through: runner.lastIndex(of: "/")!) + "chaos"
  }()

  private static func pipe() -> (read: Int32, write: Int32) {
    var ends: [Int32] = [0, 0]
    descriptors.withLock { _ in
      precondition(Glibc.pipe(&ends) == 0)
      for end in ends { closeOnExec(end) }
    }
    return (ends[0], ends[1])
  }

  func signal(_ number: Int32) {
    kill(process, number)
  }

  /// Standard output until it is at least that long.
  func read(atLeast expected: String) -> String {
    while readAhead.utf8.count < expected.utf8.count, let more = Self.read(output) { readAhead += more }
    return readAhead
  }

  /// Waits for its end.
  func finish() -> Outcome {
    var outcome = Outcome(status: 0, output: readAhead)
    while output >= 0, let more = Self.read(output) { outcome.output += more }
    while let more = Self.read(errors) { outcome.errors += more }
    close(output)
    close(errors)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    outcome.status = status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    return outcome
  }

  fileprivate static func read(_ descriptor: Int32) -> String? {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = Glibc.read(descriptor, &buffer, buffer.count)
    return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
  }
}

/// A pseudo-terminal.
final class Terminal {
  private let master: Int32
  let slave: Int32

  init() throws {
    master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
    // TIOCSPTLCK and TIOCGPTN (ioctl_tty(2)): what unlockpt and ptsname do, which Glibc does not export.
    var lock: Int32 = 0
    var number: Int32 = 0
    try #require(ioctl(master, 0x4004_5431, &lock) == 0 && ioctl(master, 0x8004_5430, &number) == 0)
    slave = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)
    try #require(slave >= 0)
  }

  deinit {
    close(slave)
    close(master)
  }

  /// What raw mode changes.
  var flags: [UInt32] {
    var settings = termios()
    tcgetattr(slave, &settings)
    return [settings.c_iflag, settings.c_oflag, settings.c_lflag]
  }

  func type(_ text: String) {
    _ = Glibc.write(master, text, text.utf8.count)
  }

  func read(until expected: String) {
    var text = ""
    while !text.contains(expected), let more = Program.read(master) { text += more }
  }
}
