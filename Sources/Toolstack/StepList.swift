import ShellPool

extension Toolstack {
  /// Every step of every operation, as `operation: step`: what crash tests go through, so that a new step is covered
  /// without anybody thinking of it.
  public static var stepNames: [String] {
    PrepareStep.allNames + CreateStep.allNames + DestroyStep.allNames + AddVifStep.allNames + RemoveVifStep.allNames
      + CreateLANStep.allNames + ChangeLANStep.allNames + DeleteLANStep.allNames
  }
}
