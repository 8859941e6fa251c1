/// What the product's programs say they are.
public enum Product {
  public static let version = "0.1.0"
  /// Of the HTTP API.
  public static let apiVersion = 1
}
