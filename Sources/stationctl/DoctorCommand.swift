import Glibc
import StationCore
import StationLinux

/// `doctor`: what is wrong with this host or this station, what follows from it, and the command that mends it.
enum DoctorCommand {
    static let all = [
        Command(
            "doctor", summary: "Says what is wrong here, what follows from it, and what mends it",
            details: """
                Looks at users, permissions, configuration, units, udev's rules, slots, the kernel, room,
                the Image Builder's tools, journal and clock. Changes nothing. With sudo it sees more: what
                only root may look into is left out otherwise. A slot that does nothing for another reason
                is explained by: stationctl explain SLOT
                """,
            examples: ["sudo stationctl doctor", "stationctl doctor --json"],
            exits: [
                "0 nothing was found, or warnings only",
                "1 something keeps cards from being written, or from being written safely",
                "2 the command line cannot be understood",
            ], run: run)
    ]

    private struct Reply: Encodable { var findings: [Finding] }

    private static func run(_ context: Context) throws -> ExitCode {
        let findings = Doctor.examine(HostExamination(socketPath: context.socketPath).facts())
        let errorCount = findings.count { $0.severity == .error }
        let code: ExitCode = errorCount == 0 ? .success : .failure
        if context.isJSON {
            context.console.json(Reply(findings: findings))
            return code
        }
        for finding in findings {
            let style: Console.Style = finding.severity == .error ? .bad : .attention
            let word = context.console.styled(finding.severity.rawValue, style)
            context.console.line("\(word): \(finding.finding.printable(limit: 2000))")
            context.console.line("  so:   \(finding.consequence)")
            context.console.line("  mend: \(finding.mend.printable(limit: 2000))")
        }
        let warningCount = findings.count - errorCount
        context.console.line(
            findings.isEmpty
                ? "nothing is wrong here"
                : "\(Quantity.counted(errorCount, "error")), \(Quantity.counted(warningCount, "warning"))")
        return code
    }
}
