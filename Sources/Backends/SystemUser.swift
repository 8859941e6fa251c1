import Glibc

/// A user of this system, as /etc/passwd has it: a static executable has no NSS.
public struct SystemUser {
  public let user: uid_t
  /// The primary group.
  public let group: gid_t

  /// - Throws: ENOENT, with the remedy, when there is none of that name.
  public init(named name: String) throws(BackendError) {
    guard let file = fopen("/etc/passwd", "re") else { throw BackendError.last("open /etc/passwd") }
    defer { fclose(file) }
    while let entry = fgetpwent(file) {
      guard String(cString: entry.pointee.pw_name) == name else { continue }
      (user, group) = (entry.pointee.pw_uid, entry.pointee.pw_gid)
      return
    }
    throw BackendError(
      "chaos-backend is to run as user '\(name)', which is not in /etc/passwd; make it (useradd --system --no-create-home"
        + " --shell /usr/sbin/nologin \(name)) or name another", errno: ENOENT)
  }
}

extension SystemUser {
  public static func isThere(_ name: String) -> Bool {
    do throws(BackendError) {
      _ = try SystemUser(named: name)
      return true
    } catch {
      return false
    }
  }
}

/// Groups by the account file: a static executable has no NSS.
public enum SystemGroup {
  /// Nil where there is none of that name.
  public static func id(of name: String) -> gid_t? {
    guard let file = fopen("/etc/group", "re") else { return nil }
    defer { fclose(file) }
    while let entry = fgetgrent(file) {
      if String(cString: entry.pointee.gr_name) == name { return entry.pointee.gr_gid }
    }
    return nil
  }
}
