/// Making a shell.
public enum PrepareStep: String, OperationSteps {
  public static let operation = "prepare"

  case record
  case createDomain = "create domain"
  case limit, populate, wire
  case createTap = "create tap"
  case mapPages = "map pages"
  case attachBackend = "attach back-end"
  case loadImage = "load image"
  case recordShell = "record shell"
}

/// Unmaking a shell or a guest.
public enum DestroyStep: String, OperationSteps {
  public static let operation = "destroy"

  case record
  case detachBackend = "detach back-end"
  case unmapPages = "unmap pages"
  case destroyDomain = "destroy domain"
  case deleteTaps = "delete taps"
  case awaitEnd = "await end"
  case removeLog = "remove log"
  case removeRecord = "remove record"
}

/// Giving a running guest one more vif.
public enum AddVifStep: String, OperationSteps {
  public static let operation = "add vif"

  case populateWindow = "populate window"
  case createTap = "create tap"
  case attachVif = "attach vif"
  case join
  case record
  case writePage = "write page"
}

/// Taking a vif from a running guest.
public enum RemoveVifStep: String, OperationSteps {
  public static let operation = "remove vif"

  case record
  case writePage = "write page"
  case deleteTap = "delete tap"
}
