import ShellPool

/// Telling a shell who it is and starting it. Unpausing is the one that counts.
enum CreateStep: String, OperationSteps {
  static let operation = "create"

  case record, rename
  case loadImage = "load image"
  case writeIdentity = "write identity"
  case joinBridges = "join bridges"
  case schedule
  case want = "note as wanted"
  case recordPaused = "record paused guest"
  case unpause
}
