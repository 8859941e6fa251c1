import Glibc
import Testing
import Threads

@Suite struct BackgroundThreadTests {
  @Test func threadThatCannotBeHadIsAnError() async {
    await #expect(processExitsWith: .success) {
      // No room for a stack.
      var limit = rlimit(rlim_cur: 1 << 20, rlim_max: 1 << 20)
      setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
      do throws(BackgroundThread.Failure) {
        try BackgroundThread.start(name: "test") {}
        exit(2)
      } catch {
        exit(error.errno == EAGAIN && error.description.contains("test") ? 0 : 3)
      }
    }
  }

  @Test func threadHasItsName() async throws {
    let name = await withCheckedContinuation { continuation in
      do {
        try BackgroundThread.start(name: "a-name-too-long-for-the-kernel") {
          continuation.resume(returning: ownName())
        }
      } catch {
        continuation.resume(returning: "\(error)")
      }
    }
    #expect(name == "a-name-too-long\n")
  }
}

private func ownName() -> String {
  guard let file = fopen("/proc/thread-self/comm", "re") else { return "" }
  defer { fclose(file) }
  var buffer = [CChar](repeating: 0, count: 32)
  guard fgets(&buffer, 32, file) != nil else { return "" }
  return buffer.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
}
