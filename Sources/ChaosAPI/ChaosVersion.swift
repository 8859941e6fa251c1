/// The version of everything in this repository.
public enum ChaosVersion {
  public static let current = "0.1.0"
}
