import StateFiles

/// Why something about a LAN could not be done. The description is one line that names the field and the value.
public struct LANError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Kind: Hashable, Sendable {
    /// A value that can never be right here.
    case invalid
    case notFound
    /// Right in itself, but in the way of something that is there.
    case conflict
    /// The host cannot do it now: no underlay, no room.
    case unavailable
    /// The kernel or the file system refused.
    case system
  }

  public let kind: Kind
  /// The field of the request that is to blame.
  public let field: String?
  public let description: String
  /// What the kernel or the file system answered.
  public let errno: Int32?

  public init(_ kind: Kind, _ description: String, field: String? = nil, errno: Int32? = nil) {
    self.kind = kind
    self.field = field
    self.description = description
    self.errno = errno
  }

  /// "field: why: 'value'".
  static func refused(
    _ field: String, _ why: String, _ value: some CustomStringConvertible, as kind: Kind = .invalid
  ) -> LANError {
    LANError(kind, "\(field): \(why): '\(value)'", field: field)
  }

  init(_ error: NetlinkError) { self.init(.system, error.description, errno: error.code) }

  init(_ failure: StateFile.Failure) { self.init(.system, failure.description, errno: failure.errno) }

  init(_ failure: FileLock.Failure) {
    switch failure {
    case .system(let failure): self.init(failure)
    case .held: self.init(.unavailable, failure.description)
    }
  }

  /// Gives a body's failures this form, whatever layer they come from.
  static func wrapping<Result>(_ body: () throws -> Result) throws(LANError) -> Result {
    do {
      return try body()
    } catch let error as LANError {
      throw error
    } catch let error as NetlinkError {
      throw LANError(error)
    } catch let error as StateFile.Failure {
      throw LANError(error)
    } catch {
      throw LANError(.system, "\(error)")
    }
  }
}
