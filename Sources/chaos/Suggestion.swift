/// `; did you mean 'create'?` when one of the words is near enough, else nothing.
func suggestion(for word: String, among known: [String]) -> String {
  guard let nearest = nearest(to: word, among: known) else { return "" }
  return "; did you mean '\(nearest)'?"
}

/// The word meant: one that begins so, or the one with the fewest letters wrong, where those are few for its
/// length.
private func nearest(to word: String, among known: [String]) -> String? {
  let typed = Array(word.utf8)
  // What is typed may be long and hostile; names are short.
  guard 2...40 ~= typed.count else { return nil }
  if let begun = known.first(where: { $0.utf8.starts(with: typed) }) { return begun }
  let candidates = known.map { (name: $0, distance: distance(typed, Array($0.utf8))) }
  guard let best = candidates.min(by: { $0.distance < $1.distance }),
    best.distance <= max(1, min(typed.count, best.name.utf8.count) / 3)
  else { return nil }
  return best.name
}

/// Letters to insert, remove, replace or swap with their neighbour, to make one word of the other.
private func distance(_ first: [UInt8], _ second: [UInt8]) -> Int {
  var previous: [Int] = []
  var current = Array(0...second.count)
  for row in first.indices {
    var next = [row + 1]
    for column in second.indices {
      let same = first[row] == second[column]
      var best = min(current[column] + (same ? 0 : 1), current[column + 1] + 1, next[column] + 1)
      if row > 0, column > 0, first[row] == second[column - 1], first[row - 1] == second[column] {
        best = min(best, previous[column - 1] + 1)
      }
      next.append(best)
    }
    previous = current
    current = next
  }
  return current[second.count]
}
