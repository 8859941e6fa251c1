import ChaosAPI
import Glibc
import Testing

@testable import chaos

/// The invocation of a command line without `chaos`; its words are separated by blanks.
func invocation(_ line: String) throws -> Invocation {
  let words = line.split(separator: " ").map(String.init)
  var name = words[0]
  var rest = words.dropFirst()
  while isGroup(name), let next = rest.popFirst() { name += " \(next)" }
  return try Invocation(try findCommand(name), rest)
}

func commandError(_ body: () throws -> Void) -> String? {
  do {
    try body()
    return nil
  } catch {
    return (error as? APIError)?.message ?? "\(error)"
  }
}

@Suite("The command line")
struct CommandLineTests {
  @Test("options and operands are told apart")
  func forms() throws {
    let create = try invocation("create --memory 4 --vif bridge=a web.json --vif=bridge=b,ip=10.0.0.1/8 --paused")
    #expect(create.operands == ["web.json"])
    #expect(create.value("memory") == "4")
    #expect(try create.integer("memory") == 4)
    #expect(create.values("vif") == ["bridge=a", "bridge=b,ip=10.0.0.1/8"])
    #expect(create.has("paused") && !create.has("wait"))
    #expect(create.value("name") == nil)
    #expect(try invocation("logs -f web").has("follow"))
    #expect(try invocation("list --format=json").wantsJSON)
    #expect(try invocation("pause a b c").operands == ["a", "b", "c"])
    #expect(try invocation("pause -- --all -f").operands == ["--all", "-f"])
    #expect(try invocation("create -").operands == ["-"])
    #expect(try invocation("create --cmdline=").value("cmdline") == "")
    #expect(try invocation("create --cmdline a=b=c").value("cmdline") == "a=b=c")
    #expect(try invocation("pool set --low 1 --high 2").command.name == "pool set")
    #expect(try invocation("ls -q").command.name == "list")
    #expect(try invocation("image rm a").command.name == "image remove")
    #expect(try invocation("lan peer add red 192.0.2.2").command.name == "lan peer add")
    #expect(try invocation("lan peer rm red 192.0.2.2").operands == ["red", "192.0.2.2"])
  }

  @Test("help is given however wrong the rest is")
  func help() throws {
    #expect(try invocation("info --help").isHelpWanted)
    #expect(try invocation("info -h a b c").isHelpWanted)
  }

  @Test(
    "what is not understood is refused by name",
    arguments: [
      ("create --memroy 4", "unknown option '--memroy'; did you mean '--memory'?"),
      ("create --mem 4", "unknown option '--mem'; did you mean '--memory'?"),
      ("create --xyzzy", "unknown option '--xyzzy'"),
      ("logs -x web", "unknown option '-x'"),
      ("create --memory", "option '--memory' needs a value: MIB"),
      ("create --memory 1 --memory 2", "option '--memory' given twice"),
      ("create --paused=yes", "option '--paused' takes no value"),
      ("list --format xml", "option '--format': expected text or json, got 'xml'"),
      ("info", "missing REF"),
      ("info a b", "unexpected argument 'b'"),
      ("image add daytime", "missing FILE"),
      ("pause", "missing REF"),
      ("list a", "unexpected argument 'a'"),
      ("lan peer add red", "missing ADDRESS"),
      ("lan create red --mode vlan", "option '--mode': expected local or static or evpn, got 'vlan'"),
      ("lan delete", "missing NAME"),
    ])
  func refusals(line: String, expected: String) {
    #expect(commandError { _ = try invocation(line) } == expected)
  }

  @Test("an empty operand is refused, as it would stand for all there are")
  func emptyOperands() throws {
    #expect(commandError { _ = try Invocation(try findCommand("destroy"), ["a", ""]) } == "REF is empty")
    #expect(
      commandError { _ = try Invocation(try findCommand("lan peer remove"), ["red", ""]) } == "ADDRESS is empty")
    #expect(commandError { _ = try Invocation(try findCommand("info"), ["a", ""]) } == "unexpected argument ''")
  }

  @Test(
    "unknown commands are refused, the nearest named",
    arguments: [
      ("cre", "unknown command 'cre'; did you mean 'create'?"),
      ("creat", "unknown command 'creat'; did you mean 'create'?"),
      ("craete", "unknown command 'craete'; did you mean 'create'?"),
      ("unpasue", "unknown command 'unpasue'; did you mean 'unpause'?"),
      ("pool stat", "unknown command 'pool stat'; did you mean 'pool status'?"),
      ("pools", "unknown command 'pools'; did you mean 'pool'?"),
      ("lan peer ad", "unknown command 'lan peer ad'; did you mean 'lan peer add'?"),
      ("lan pear", "unknown command 'lan pear'; did you mean 'lan peer'?"),
      ("x", "unknown command 'x'"), ("", "unknown command ''"), ("migrate", "unknown command 'migrate'"),
    ])
  func unknownCommands(name: String, expected: String) {
    #expect(commandError { _ = try findCommand(name) } == expected)
  }

  @Test("the help of an unknown command is its group's")
  func helpOfGroups() {
    func help(_ name: String) -> String? {
      do { _ = try findCommand(name) } catch { return error.helpCommand }
      return nil
    }
    #expect(help("x") == "chaos --help")
    #expect(help("x y") == "chaos --help")
    #expect(help("pool x") == "chaos pool --help")
    #expect(help("lan x") == "chaos lan --help")
    #expect(help("lan peer x") == "chaos lan peer --help")
  }

  @Test("memory may have a unit")
  func units() throws {
    let sizes = [
      "64": 64, "64M": 64, "64MiB": 64, "1G": 1024, "1GiB": 1024, "2T": 2_097_152, "2048K": 2, "1024KiB": 1,
    ]
    for (text, size) in sizes {
      #expect(try invocation("create --memory \(text)").mebibytes("memory") == size)
      #expect(try invocation("pool set --budget \(text)").mebibytes("budget") == size)
    }
    for text in ["", "M", "64m", "64MB", "64 M", "1.5G", "-1", "+1", "1000K", "9999999999", "64MiBs", "0x1", "٣"] {
      let create = try Invocation(findCommand("create"), ["--memory", text])
      #expect(
        commandError { _ = try create.mebibytes("memory") }
          == "option '--memory': expected MiB, as 64, 64M or 1G, got '\(text)'")
    }
    #expect(try invocation("create --memory 999999999T").mebibytes("memory") == 999_999_999 << 20)
    #expect(try invocation("create").mebibytes("memory") == nil)
    for (text, size) in ["256": 256, "256K": 256, "1M": 1024, "999999999T": 999_999_999 << 30] {
      #expect(try invocation("create --window \(text)").kibibytes("window") == size)
    }
    #expect(
      commandError { _ = try invocation("create --window 1X").kibibytes("window") }
        == "option '--window': expected KiB, as 256, 256K or 1M, got '1X'")
  }

  @Test("numbers are whole and plain")
  func numbers() throws {
    for text in ["", "1x", "+1", "1.0", "0x10", "99999999999999999999"] {
      let create = try invocation("create --vcpus=\(text)")
      #expect(
        commandError { _ = try create.integer("vcpus") }
          == "option '--vcpus': expected an integer, got '\(text)'")
    }
    #expect(try invocation("create --vcpus=-1").integer("vcpus") == -1)
    #expect(commandError { _ = try invocation("create --timeout -1").timeout(default: 30) } != nil)
    #expect(commandError { _ = try invocation("create --timeout 86401").timeout(default: 30) } != nil)
    #expect(try invocation("create --timeout 0").timeout(default: 30) == 0)
    #expect(try invocation("create").timeout(default: 30) == 30)
  }

  @Test("an error of usage says where help is, another does not")
  func hints() {
    #expect(APIError.usage("m", of: "pool set").helpCommand == "chaos pool set --help")
    #expect(APIError.usage("m", of: nil).helpCommand == "chaos --help")
    #expect(APIError(.invalidArgument, "m", field: "vifs[0].mac").helpCommand == nil)
    #expect(APIError.usage("m", of: nil).code.exitStatus == ExitStatus.usage.rawValue)
  }

  @Test("an error names what it is about, once")
  func naming() {
    #expect(APIError(.notFound, "no guest 'web'").naming("web").message == "no guest 'web'")
    #expect(APIError(.timeout, "not ready after 1 s").naming("web").message == "web: not ready after 1 s")
    #expect(APIError(.unavailable, "is it running?").naming("web").message == "is it running?")
    #expect(APIError(.wrongState, "it is dying").naming("i").message == "i: it is dying")
    #expect("abc".includes("bc") && "abc".includes("") && !"abc".includes("abcd") && !"abc".includes("x"))
  }
}

@Suite("Create's command line")
struct CreateCommandTests {
  @Test("options alone make a request")
  func options() throws {
    let line =
      "create --image daytime --ramdisk rd --cmdline a=b --memory 4 --vcpus 2 --name web --count 3 --window 512"
      + " --paused --no-pool --vif bridge=br0,mac=52:54:00:00:00:01-52:54:00:00:00:03,ip=10.1.0.2-10.1.0.4/24,"
      + "gateway=10.1.0.1,ip6=fd00::2-fd00::4/64,gateway6=fd00::1,mtu=1450 --vif bridge=br1 --vif lan=red"
    let request = try createRequest(try invocation(line))
    #expect(
      request
        == CreateRequest(
          name: "web", image: "daytime", ramdisk: "rd", cmdline: "a=b", memoryMiB: 4, vcpus: 2, paused: true,
          vifs: [
            VifRequest(
              mac: "52:54:00:00:00:01-52:54:00:00:00:03", ip: "10.1.0.2-10.1.0.4/24", gateway: "10.1.0.1",
              ip6: "fd00::2-fd00::4/64", gateway6: "fd00::1", bridge: "br0", mtu: 1450),
            VifRequest(bridge: "br1"), VifRequest(lan: "red"),
          ], pool: false, count: 3, windowKiB: 512))
    try request.validate()
  }

  @Test("options override the config, and --vif replaces its vifs")
  func config() throws {
    let path = try temporary(
      #"{"kernel":"daytime","name":"a","memory":16,"vcpus":2,"vifs":[{"bridge":"x"},{"bridge":"y"}]}"#)
    defer { unlink(path) }
    #expect(
      try createRequest(try invocation("create \(path)"))
        == CreateRequest(
          name: "a", image: "daytime", memoryMiB: 16, vcpus: 2,
          vifs: [VifRequest(bridge: "x"), VifRequest(bridge: "y")]))
    #expect(
      try createRequest(
        try invocation("create --image ./b.elf --name c --memory 8 --vif bridge=z \(path)"))
        == CreateRequest(name: "c", image: "./b.elf", memoryMiB: 8, vcpus: 2, vifs: [VifRequest(bridge: "z")]))
  }

  @Test("a config that cannot be is refused with its name")
  func badConfig() throws {
    let path = try temporary(#"{"kernel":"daytime","memroy":16}"#)
    defer { unlink(path) }
    #expect(
      commandError { _ = try createRequest(try invocation("create \(path)")) } == "\(path): unknown key 'memroy'")
    #expect(
      commandError { _ = try createRequest(try invocation("create /nonexistent.json")) }
        == "/nonexistent.json: No such file or directory")
    #expect(commandError { _ = try createRequest(try invocation("create /")) } == "/: Is a directory")
  }

  @Test(
    "a vif that cannot be is refused",
    arguments: [
      ("br0", "option '--vif': expected KEY=VALUE, got 'br0'"),
      ("", "option '--vif': expected KEY=VALUE, got ''"),
      ("bridge=br0,", "option '--vif': expected KEY=VALUE, got ''"),
      ("bridge=a,bridge=b", "option '--vif': key 'bridge' given twice"),
      ("bridge=a,brige=b", "option '--vif': unknown key 'brige'; did you mean 'bridge'?"),
      ("bridge=a,mtu=x", "option '--vif': expected an integer for mtu, got 'x'"),
      (
        "mac=52:54:00:00:00:01",
        "option '--vif': missing bridge=NAME or lan=NAME in 'mac=52:54:00:00:00:01'"
      ),
    ])
  func badVif(text: String, expected: String) throws {
    let create = try invocation("create --image a --vif=\(text)")
    #expect(commandError { _ = try createRequest(create) } == expected)
  }

  @Test("no image is said to be missing")
  func noImage() throws {
    #expect(
      commandError { _ = try createRequest(try invocation("create")) }
        == "no image: give --image, or CONFIG with 'kernel'")
  }

  @Test("a path or .elf is a file; any other word is a stored image")
  func imageSources() {
    #expect(ImageSource.checkable("daytime") == "daytime")
    #expect(ImageSource.checkable(nil) == nil)
    for path in ["./daytime", "/x/daytime", "daytime.elf", "images/"] {
      #expect(ImageSource.checkable(path)?.hasPrefix("sha256:0") == true)
    }
  }

  private func temporary(_ content: String) throws -> String {
    var template = Array("/tmp/chaos-test-XXXXXX".utf8CString)
    let file = mkstemp(&template)
    defer { close(file) }
    #expect(Glibc.write(file, content, content.utf8.count) == content.utf8.count)
    return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

@Suite("Tables")
struct TableTests {
  @Test("columns are as wide as their widest cell, and an empty cell is a dash")
  func table() {
    var table = Table([("NAME", .left), ("DOMID", .right), ("STATE", .left)])
    table.add(["a-long-name", "7", "running"])
    table.add(["b", "12345678", ""])
    #expect(
      table.text == """
        NAME            DOMID  STATE
        a-long-name         7  running
        b            12345678  -

        """)
  }

  @Test("no rows leave the headings; control characters are shown as question marks")
  func edges() {
    var table = Table([("A", .left), ("B", .left)])
    #expect(table.text == "A  B\n")
    table.add(["\u{1b}[2Jx", "é😀"])
    #expect(table.text == "A      B\n?[2Jx  é😀\n")
  }

  @Test("guests are listed with their first address and the time since their creation")
  func guests() {
    var guest = GuestInfo(
      name: "web", uuid: "u", domid: 7, state: .running, memoryMiB: 8, vcpus: 1,
      image: ImageReference(digest: "sha256:00"), cmdline: "", created: "2026-03-01T12:00:00Z", cpuSeconds: 0,
      ready: true, tampered: false,
      vifs: [
        VifInfo(index: 0, mac: "m", bridge: "b", tap: "t", mtu: 1500),
        VifInfo(index: 1, mac: "m", bridge: "b", tap: "t", ip: "10.1.0.2/24", mtu: 1500),
      ])
    let now = Timestamp.seconds("2026-03-01T13:01:02Z") ?? 0
    #expect(
      guestTable([guest], now: now) == """
        NAME  DOMID  STATE    MEMORY  VCPUS  ADDRESS   UPTIME
        web       7  running   8 MiB      1  10.1.0.2    1h1m

        """)
    guest.vifs = []
    guest.cmdline = "a\u{1b}b"
    #expect(
      factSheet(guest, now: now) == """
        Name:         web
        UUID:         u
        Domain ID:    7
        State:        running, ready
        Memory:       8 MiB
        VCPUs:        1
        CPU time:     0.0 s
        Image:        sha256:00
        Command line: a?b
        Created:      2026-03-01T12:00:00Z (1h1m ago)
        On its end:   poweroff destroy, reboot restart, crash preserve

        """)
  }

  @Test("a guest's vif says which LAN it is on")
  func vifs() {
    let vifs = [
      VifInfo(index: 0, mac: "m", bridge: "br0", tap: "vif7.0", mtu: 1500),
      VifInfo(
        index: 2, mac: "m", bridge: "lan100", lan: "red", tap: "vif7.2", ip: "10.1.0.2/24", ip6: "fd00::2/64",
        mtu: 1450, broken: "a descriptor outside its window"),
    ]
    #expect(
      vifTable(vifs) == """
        INDEX  MAC  LAN  BRIDGE  TAP      MTU  ADDRESS      ADDRESS6    STATE
            0  m    -    br0     vif7.0  1500  -            -           ok
            2  m    red  lan100  vif7.2  1450  10.1.0.2/24  fd00::2/64  broken: a descriptor outside its window

        """)
  }

  @Test func durations() {
    let times = [-5, 0, 59, 60, 3599, 3600, 86_399, 86_400, 1_000_000]
    #expect(
      times.map { shortDuration(seconds: $0) }
        == ["0s", "0s", "59s", "1m0s", "59m59s", "1h0m", "23h59m", "1d0h", "11d13h"])
  }

  @Test func sizes() {
    let sizes = [0, 10_239, 10_240, 17_408, 10_485_759, 10_485_760]
    #expect(
      sizes.map { shortSize(bytes: $0) } == ["0 B", "10239 B", "10 KiB", "17 KiB", "10239 KiB", "10 MiB"])
  }

  @Test func progressBar() {
    #expect(Progress.bar(done: 0, total: 4).hasPrefix("\r[" + String(repeating: "-", count: 40) + "] 0/4"))
    #expect(
      Progress.bar(done: 1, total: 4)
        == "\r[##########------------------------------] 1/4\u{1b}[K")
    #expect(Progress.bar(done: 9, total: 4).hasPrefix("\r[" + String(repeating: "#", count: 40) + "] 9/4"))
    #expect(Progress.bar(done: 0, total: 0).contains("] 0/0"))
  }
}

@Suite("Help")
struct HelpTests {
  @Test("commands, options and letters are distinct, and every command has an example")
  func table() {
    let names = commands.flatMap { [$0.name] + $0.aliases }
    #expect(Set(names).count == names.count)
    for command in commands {
      let options = command.allOptions.map(\.name)
      #expect(Set(options).count == options.count, "\(command.name)")
      let letters = command.allOptions.compactMap(\.letter)
      #expect(Set(letters).count == letters.count, "\(command.name)")
      #expect(!command.examples.isEmpty, "\(command.name)")
      #expect(command.summary.hasSuffix("."), "\(command.name)")
      for operand in command.operands.dropLast() { #expect(operand.isRequired && !operand.isRepeated) }
    }
  }

  @Test("examples are command lines that are understood")
  func examples() throws {
    for command in commands {
      for example in command.examples where example.command.hasPrefix("chaos ") {
        let line = example.command.dropFirst(6).prefix { !"|$".contains($0) }
        _ = try invocation(String(line).replacing("'", with: ""))
      }
    }
  }

  @Test("texts name every option and fit 80 columns")
  func texts() {
    for command in commands {
      let text = helpText(command)
      #expect(text.hasPrefix("Usage: chaos \(command.name) "))
      for option in command.allOptions { #expect(text.contains("--\(option.name)"), "\(command.name)") }
      let examples = Set(command.examples.map { "  " + $0.command })
      for line in text.split(separator: "\n") where !examples.contains(String(line)) {
        #expect(line.count <= 80, "\(command.name): \(line)")
      }
      #expect(overview().contains("  \(command.name) "))
    }
    for group in groups { #expect(overview(ofGroup: group.name).contains("Usage: chaos \(group.name) ")) }
  }

  @Test("every page is roff that begins its lines well")
  func manPages() throws {
    #expect(manPageNames().count == commands.count + 1)
    let macros = Set([".TH", ".SH", ".TP", ".PP", ".B", ".BR", ".I"])
    for name in manPageNames() {
      for line in try manPage(name).split(separator: "\n") where line.hasPrefix(".") || line.hasPrefix("'") {
        #expect(macros.contains(String(line.prefix { $0 != " " })), "\(name): \(line)")
      }
    }
    #expect(
      commandError { _ = try manPage("chaos-cretae") } == "no man page 'chaos-cretae'; did you mean 'chaos-create'?"
    )
  }

  @Test("words are completed after commands of one, two and three words")
  func bashWords() throws {
    #expect(try completed("chaos", "la") == ["lan"])
    #expect(try completed("chaos", "lan", "pe") == ["peer"])
    #expect(try completed("chaos", "lan", "evpn", "") == ["enable", "disable", "status", "--help"])
    #expect(try completed("chaos", "lan", "peer", "add", "red", "--ma") == ["--mac"])
    #expect(try completed("chaos", "lan", "create", "red", "--mode", "") == ["local", "static", "evpn"])
    #expect(try completed("chaos", "lan", "attach", "red", "l") == ["lo"])
    #expect(try completed("chaos", "pool", "s") == ["status", "set"])
    // Guests and LANs are asked for; the function stands in for the program.
    #expect(try completed("chaos", "vif", "add", "") == ["list", "-q"])
    #expect(try completed("chaos", "lan", "info", "") == ["lan", "list", "-q"])
    #expect(try completed("chaos", "lan", "attach", "") == ["lan", "list", "-q"])
    #expect(try completed("chaos", "lan", "detach", "red", "--help", "").contains("lo"))
  }

  /// What bash offers for the last word. `chaos` itself answers with its arguments.
  private func completed(_ words: String...) throws -> [String] {
    let quoted = words.map { "'\($0)'" }.joined(separator: " ")
    let script =
      try #require(completionScript(for: "bash"))
      + "chaos() { printf '%s\\n' \"$@\"; }\nCOMP_WORDS=(\(quoted)) COMP_CWORD=\(words.count - 1)\n_chaos\n"
      + "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    let outcome = try Program([], input: script, path: "/bin/bash").finish()
    #expect(outcome.status == 0 && outcome.errors == "")
    return outcome.output.split(separator: "\n").map(String.init)
  }

  @Test("completions know every command and option", arguments: ["bash", "zsh", "fish"])
  func completions(shell: String) throws {
    let script = try #require(completionScript(for: shell))
    for command in commands {
      for word in command.name.split(separator: " ") { #expect(script.contains(word)) }
      for option in command.allOptions {
        #expect(script.contains(shell == "fish" ? "-l \(option.name)" : "--\(option.name)"))
      }
    }
  }

  @Test func noOtherShells() {
    #expect(completionScript(for: "tcsh") == nil)
  }
}
