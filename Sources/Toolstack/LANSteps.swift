import ShellPool

/// Making a LAN.
enum CreateLANStep: String, OperationSteps {
  static let operation = "create LAN"

  case writeDefinition = "write definition"
  case layOut = "lay out"
}

/// Deleting a LAN.
enum DeleteLANStep: String, OperationSteps {
  static let operation = "delete LAN"

  case deleteDevices = "delete devices"
  case removeDefinition = "remove definition"
}

/// Changing what a LAN's definition says.
enum ChangeLANStep: String, OperationSteps {
  static let operation = "change LAN"

  case writeDefinition = "write definition"
  case layOut = "lay out"
}
