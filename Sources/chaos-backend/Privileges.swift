import Backends
import CBackends
import Glibc

/// Giving up, for good, what serving guests does not take.
enum Privileges {
  /// Becomes `user`, with its primary group and no other.
  static func become(_ user: SystemUser, named name: String) throws(BackendError) {
    if setgroups(0, nil) < 0 || setgid(user.group) < 0 || setuid(user.user) < 0 {
      throw BackendError("become user '\(name)'", errno: errno)
    }
  }

  /// Never gains a privilege again, and leaves no memory of guests in core files.
  static func giveUpMore() throws(BackendError) {
    if cbackends_set_no_new_privileges() < 0 { throw BackendError("give up new privileges", errno: errno) }
    if cbackends_give_up_dumps() < 0 { throw BackendError("give up core files", errno: errno) }
  }

  /// Bounds the system calls of all threads.
  static func confine() throws(BackendError) {
    if cbackends_confine(1) < 0 { throw BackendError("bound the system calls", errno: errno) }
  }
}
