import Glibc

/// How many files this process, and what it starts, may have open.
public enum DescriptorLimit {
  /// A thousand guests need some ten thousand descriptors in the back-end, which inherits the limit.
  private static let wanted: rlim_t = 1 << 20

  /// Raises it as far as this process may; returns how far that is.
  @discardableResult
  public static func raise() -> Int {
    let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    getrlimit(kind, &limit)
    let most = max(limit.rlim_max, wanted)
    var raised = rlimit(rlim_cur: most, rlim_max: most)
    if setrlimit(kind, &raised) == 0 { return Int(clamping: most) }
    limit.rlim_cur = limit.rlim_max
    setrlimit(kind, &limit)
    return Int(clamping: limit.rlim_cur)
  }
}
