/// The right to block: only a thread of this room's holds one, and it can neither be copied nor kept.
///
/// A function that waits (for a guest's queue, the back-end, netlink, a lock on a file, the disk) takes one as
/// `_ blocking: borrowing Blocking`. So the compiler keeps it off event loops, where every client would wait
/// with it, and off the one thread for tasks (``TaskThread``).
///
/// Its only initialiser is the internal one the compiler writes: nobody outside this room can make one.
public struct Blocking: ~Copyable {}
