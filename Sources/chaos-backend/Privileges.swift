import Backends
import CBackends
import Glibc

/// Giving up root for good.
enum Privileges {
  /// Becomes `user`, with its primary group and no other, and never gains a privilege again.
  static func drop(to user: String) throws(BackendError) {
    guard let ids = try lookUp(user) else { throw BackendError("user '\(user)'", errno: ENOENT) }
    if setgroups(0, nil) < 0 || setgid(ids.group) < 0 || setuid(ids.user) < 0 {
      throw BackendError("become user '\(user)'", errno: errno)
    }
    if cbackends_set_no_new_privileges() < 0 {
      throw BackendError("give up new privileges", errno: errno)
    }
  }

  /// Reads /etc/passwd itself: a static executable has no NSS.
  private static func lookUp(_ user: String) throws(BackendError) -> (user: uid_t, group: gid_t)? {
    guard let file = fopen("/etc/passwd", "re") else { throw BackendError("open /etc/passwd", errno: errno) }
    defer { fclose(file) }
    while let entry = fgetpwent(file) {
      if String(cString: entry.pointee.pw_name) == user { return (entry.pointee.pw_uid, entry.pointee.pw_gid) }
    }
    return nil
  }
}
