import CardWriting
import Glibc

// The writer without the checks that STATION_WITHOUT names (comma-separated), to prove that each of them is needed.
// With --checks it says which there are.
if CommandLine.arguments.dropFirst() == ["--checks"] {
    for check in Check.allCases { print(check.rawValue) }
    exit(0)
}
let names = getenv("STATION_WITHOUT").map { String(cString: $0).split(separator: ",").map(String.init) } ?? []
let missing = names.map { name in
    guard let check = Check(rawValue: name) else { fatalError("there is no check \(name)") }
    return check
}
exit(WriterProgram.run(Array(CommandLine.arguments.dropFirst()), checks: Set<Check>.all.subtracting(missing)))
