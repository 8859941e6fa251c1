import Glibc

/// One parser to feed with any bytes. It fails by trapping: on its own, or through `expect`.
struct Target: Sendable {
  let name: String
  /// Binary inputs to start from. Text stands in Fuzz/corpus/NAME instead.
  var seeds: [[UInt8]] = []
  /// Longest input worth trying.
  var longest = 4096
  let feed: @Sendable (UnsafeRawBufferPointer) -> Void

  static let all: [Target] = [
    elf, unpack, config, lifeCycle, devicePage, console, control, netlink, iptables, record, http, json, cni,
    netavark, dump,
  ]

  /// The target this program is called by the name of: one program serves them all.
  static let selected: Target? = {
    let program = CommandLine.arguments[0].split(separator: "/").last ?? ""
    return all.first { $0.name == program }
  }()
}

/// Traps, with a reason, when a property does not hold.
func expect(
  _ condition: @autoclosure () -> Bool, _ property: @autoclosure () -> String, file: StaticString = #file,
  line: UInt = #line
) {
  if !condition() { fatalError(property(), file: file, line: line) }
}

/// libFuzzer calls this once for every input.
@c(LLVMFuzzerTestOneInput)
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  Target.selected!.feed(UnsafeRawBufferPointer(start: bytes, count: count))
  return 0
}

/// libFuzzer calls this first. With FUZZ_SEEDS set it only writes the target's seeds into that folder and
/// prints the longest input worth trying.
@c(LLVMFuzzerInitialize)
public func initialize(
  _ count: UnsafeMutablePointer<CInt>?,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
  guard let target = Target.selected else {
    print("no such target; these are:", Target.all.map(\.name).joined(separator: " "))
    exit(2)
  }
  guard let folder = getenv("FUZZ_SEEDS") else { return 0 }
  for (number, seed) in target.seeds.enumerated() {
    let path = "\(String(cString: folder))/seed-\(number)"
    guard let file = fopen(path, "w"), fwrite(seed, 1, seed.count, file) == seed.count, fclose(file) == 0 else {
      perror(path)
      exit(2)
    }
  }
  print(target.longest)
  exit(0)
}

/// A value's bytes, the lowest first.
func little(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
