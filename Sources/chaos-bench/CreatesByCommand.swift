import ChaosAPI

extension Measurement {
  /// `chaos create` and `chaos destroy` from start to exit, one vif on a bridge.
  static var createsByCommand: [Measurement] {
    [
      create("create-hot", .hot, "chaos create from a hot shell", samples: 100),
      create("create-blank", .blank, "chaos create from a blank shell", samples: 50),
      create("create-no-pool", .none, "chaos create --no-pool", samples: 30),
      destroy,
    ]
  }

  private static func create(_ name: String, _ kind: ShellKind, _ summary: String, samples: Int) -> Measurement {
    Measurement([Heading(name, .milliseconds, summary)], samples: samples, quick: 8) { bench, samples in
      let chaos = try Program("chaos", "create", "--socket", bench.options.socket, "--image", Workbench.image)
      var times: [Double] = []
      try bench.inGroups(kind, samples) { guests in
        let before = try bench.client.pool().hits[kind]
        for guest in guests {
          let choice = kind == .none ? ["--no-pool"] : []
          times.append(try chaos.run(["--vif", guest.vif, "--name", guest.name] + choice).milliseconds)
          try bench.settle(guest)
        }
        let served = try bench.client.pool().hits[kind] - before
        guard served == guests.count else {
          throw Failure("\(served) of \(guests.count) guests were made from shell '\(kind.rawValue)'")
        }
      }
      return [Figure(Sample(times))]
    }
  }

  private static var destroy: Measurement {
    let heading = Heading("destroy-cli", .milliseconds, "chaos destroy, until every resource is back")
    return Measurement([heading], samples: 50, quick: 8) { bench, samples in
      let chaos = try Program("chaos", "destroy", "--socket", bench.options.socket)
      var times: [Double] = []
      try bench.inGroups(.hot, samples) { guests in
        for guest in guests {
          try bench.create(guest, from: .hot)
          try bench.settle(guest)
        }
        for guest in guests {
          try bench.checkingThatAllIsBack(guest) {
            times.append(try chaos.run([guest.name]).milliseconds)
          }
        }
      }
      return [Figure(Sample(times))]
    }
  }
}

extension ShellHits {
  subscript(kind: ShellKind) -> Int {
    switch kind {
    case .hot: hot
    case .blank: blank
    case .none: none
    }
  }
}
