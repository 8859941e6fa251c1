extension FixedWidthInteger where Self: UnsignedInteger {
  /// The number `count` places further on (or back); nil when that leaves the type.
  func moved(by count: Int) -> Self? {
    guard let distance = Self(exactly: count.magnitude) else { return nil }
    let (moved, overflow) =
      count < 0 ? subtractingReportingOverflow(distance) : addingReportingOverflow(distance)
    return overflow ? nil : moved
  }

  /// The mask of a prefix: `length` one bits from the top. The caller holds `length` within the type's width.
  static func mask(ofPrefix length: Int) -> Self {
    // A shift by the whole width gives zero, as "no bits of the host part fixed" must.
    ~(Self.max >> length)
  }
}
