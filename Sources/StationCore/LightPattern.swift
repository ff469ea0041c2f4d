/// What one light does, over and over: it is dark, lit, or goes through steps of light and dark.
package enum LightPattern: Equatable, Sendable {
    /// One stretch of light or dark.
    package struct Step: Equatable, Sendable {
        package var isLit: Bool
        package var milliseconds: Int

        package init(isLit: Bool, milliseconds: Int) {
            self.isLit = isLit
            self.milliseconds = milliseconds
        }
    }

    /// Which of a slot's lights it is.
    package enum Role: CaseIterable, Sendable {
        case only, green, red
    }

    case dark
    case steady
    /// Repeated from the first step after the last.
    case steps([Step])

    /// Half a second lit, half a second dark: also what the kernel's `timer` trigger does when nothing is said to it.
    package static let even = flashes(1, lit: 500, apart: 500, rest: 500)
    /// 3 s from wink to wink.
    package static let wink = flashes(1, lit: 100, apart: 0, rest: 2900)
    package static let doubleFlash = flashes(2, lit: 150, apart: 200, rest: 1200)
    package static let tripleFlash = flashes(3, lit: 150, apart: 200, rest: 1200)
    /// Five times a second: none of the six meanings, so that it is mistaken for none.
    package static let identify = flashes(1, lit: 100, apart: 0, rest: 100)
    /// Lit while the other is dark.
    package static let identifyInTurn = steps([
        Step(isLit: false, milliseconds: 100), Step(isLit: true, milliseconds: 100),
    ])

    /// What a light shows for a signal. Of two lights, green alone says that all is well, and red alone that it is not.
    package static func of(_ signal: Signal, of role: Role) -> LightPattern {
        switch (signal, role) {
        case (.dark, _), (.ready, .red), (.busy, .red), (.passed, .red), (.failed, .green), (.help, .green): .dark
        case (.ready, _): .wink
        case (.busy, _): .even
        case (.passed, _): .steady
        case (.failed, .only): .doubleFlash
        case (.failed, .red): .steady
        case (.help, _): .tripleFlash
        }
    }

    /// What the kernel's `pattern` trigger takes: brightness and milliseconds in turn, each stretch followed by one of the
    /// same brightness and no length, without which the kernel would fade from one to the next. Nil for what needs no trigger.
    package func kernelPattern(brightness: Int) -> String? {
        guard case .steps(let steps) = self else { return nil }
        return steps.map { step in
            let level = step.isLit ? brightness : 0
            return "\(level) \(step.milliseconds) \(level) 0"
        }.joined(separator: " ")
    }

    private static func flashes(_ count: Int, lit: Int, apart: Int, rest: Int) -> LightPattern {
        let flash = [Step(isLit: true, milliseconds: lit), Step(isLit: false, milliseconds: apart)]
        var steps = (0..<count).flatMap { _ in flash }
        steps[steps.count - 1].milliseconds = rest
        return .steps(steps)
    }
}
