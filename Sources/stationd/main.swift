import Glibc
import StationLinux

// libdispatch gives its threads priorities, which this daemon may not have and does not need, and says so in the journal for
// each thread, every few seconds. It looks here before its first word.
setenv("LIBDISPATCH_LOG", "NO", 0)
StandardStreams.fillGaps()
exit(Daemon.run(Array(CommandLine.arguments.dropFirst())))
