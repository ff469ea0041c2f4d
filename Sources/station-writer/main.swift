import CardWriting
import Glibc

// Every check is enforced here, whatever the environment says.
exit(WriterProgram.run(Array(CommandLine.arguments.dropFirst())))
