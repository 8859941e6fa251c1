import ChaosAPI

// Saying how a guest ended, to people who were there when it did.

extension GuestEnd {
  /// What the guest did, or was done to it.
  var deed: String {
    switch self {
    case .poweroff: "powered off"
    case .reboot: "rebooted"
    case .crash: "crashed"
    case .suspend: "suspended itself"
    case .watchdog: "was ended by its watchdog"
    case .destroyed: "was destroyed"
    case .failed: "could not be made again"
    }
  }

  /// It did not end as guests are meant to.
  var isFailure: Bool {
    switch self {
    case .crash, .watchdog, .failed, .suspend: true
    case .poweroff, .reboot, .destroyed: false
    }
  }
}

extension ChaosClient {
  /// How a guest that may have ended did: nil while it runs, or where the daemon does not know. It is asked for when
  /// something else is to be said, so that its own errors are not.
  mutating func ending(of reference: String) -> (reason: GuestEnd, message: String?)? {
    do throws(APIError) {
      switch try guest(reference).state {
      case .crashed: return (.crash, nil)
      case .shutdown, .dying, .ended: break
      // Made again, it ended before; this one has not.
      case .starting, .running, .paused: return nil
      }
    } catch {
      if error.code != .notFound { return nil }
    }
    do throws(APIError) {
      return try lastEnd(of: reference).flatMap { event in event.reason.map { ($0, event.message) } }
    } catch {
      return nil
    }
  }

  /// An error that says how the guest ended; nil where it ended in order, or has not.
  mutating func failure(of reference: String, shownAs name: String) -> APIError? {
    guard let (reason, message) = ending(of: reference), reason.isFailure else { return nil }
    return APIError(.internal, "guest '\(name)' \(reason.deed)" + (message.map { ": \($0)" } ?? ""))
  }
}

extension APIError {
  /// The error of a stream that ended before its end, so that nobody takes what came for all there is.
  func cuttingOff(_ name: String) -> APIError {
    code == .unavailable ? APIError(code, "\(name): cut off, there may be more: \(message)") : self
  }
}
