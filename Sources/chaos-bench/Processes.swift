import Glibc

/// A running process, looked at from outside.
struct RunningProcess {
  let id: pid_t

  /// The process whose main thread has this name (at most 15 characters of it count).
  init(named name: String) throws(Failure) {
    for id in Self.numbers(in: "/proc") where Self.name("/proc/\(id)") == name {
      self.id = pid_t(id)
      return
    }
    throw Failure("no process '\(name)' runs")
  }

  /// The processor time that all its threads took so far, those that ended included.
  var cpuMilliseconds: Double {
    var clock = clockid_t()
    var time = timespec()
    guard clock_getcpuclockid(id, &clock) == 0, clock_gettime(clock, &time) == 0 else { return .nan }
    return Double(time.tv_sec) * 1000 + Double(time.tv_nsec) / 1e6
  }

  /// Its threads' names by thread ID.
  var threads: [pid_t: String] {
    let ids = Self.numbers(in: "/proc/\(id)/task")
    return Dictionary(
      ids.map { (pid_t($0), Self.name("/proc/\(id)/task/\($0)")) }, uniquingKeysWith: { first, _ in first })
  }

  /// Whether a tracer holds every thread.
  var isTraced: Bool {
    Self.numbers(in: "/proc/\(id)/task").allSatisfy { thread in
      let status = (try? readFile("/proc/\(id)/task/\(thread)/status")) ?? []
      return !String(decoding: status, as: UTF8.self).contains("TracerPid:\t0\n")
    }
  }

  private static func name(_ folder: String) -> String {
    let bytes = (try? readFile("\(folder)/comm")) ?? []
    return String(decoding: bytes.dropLast(), as: UTF8.self)
  }

  private static func numbers(in folder: String) -> [Int] { names(in: folder).compactMap { Int($0) } }
}

/// What a folder holds; nothing when it cannot be read.
func names(in folder: String) -> [String] {
  guard let directory = opendir(folder) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    names.append(withUnsafePointer(to: &entry.pointee.d_name.0) { String(cString: $0) })
  }
  return names
}

/// The processes that do chaos's work.
struct ChaosProcesses {
  let daemon: RunningProcess
  let backend: RunningProcess

  init() throws(Failure) {
    daemon = try RunningProcess(named: "chaosd")
    backend = try RunningProcess(named: "chaos-backend")
  }

  var cpuMilliseconds: Double { daemon.cpuMilliseconds + backend.cpuMilliseconds }
}
