# What opensnitch-audit-notify says. Every language has the same messages with the same variables; a test compares them.
# A name that begins with $ is a variable. Texts of notifications: short, the most important word first.

## The applet, as the desktop names the sender of its notifications.

sender = Network connections

## A program's first connection, and later ones in its place.

connects-to = { $name } connects to { $destination }
connections = { $count ->
    [one] { $name }: { $count } connection
   *[other] { $name }: { $count } connections
}
# An application that something runs in: curl in a terminal.
name-in = { $name } (in { $application })
name-unknown = A program without a name

## What is known of a destination: "192.0.2.1, port 443, tcp".

address-port-protocol = { $address }, port { $port }, { $protocol }
address-port = { $address }, port { $port }
named-destination = { $name }: { $destination }
more-destinations = { $count ->
    [one] and { $count } more destination
   *[other] and { $count } more destinations
}
earlier-destinations = and earlier ones

## Who.

user-starter = User { $user }, started by { $starter }
user = User { $user }
starter = Started by { $starter }

## Several programs in one notification.

several = { $count ->
    [one] { $count } program connects to the network
   *[other] { $count } programs connect to the network
}
program-destination = { $name } → { $destination }
more-programs = { $count ->
    [one] and { $count } more
   *[other] and { $count } more
}

## Details.

details-of = { $name }: details
details-of-several = Details
detail-program = Program: { $path }
detail-command = Command: { $command }
detail-folder = Folder: { $folder }
detail-application = Application: { $application }
detail-user = User: { $user }
detail-starters = Started by: { $starters }
detail-connections = Connections: { $count }
detail-destinations = Destinations:

## Losses, and the service.

lost-title = Not every connection was told
lost = { $count ->
    [one] { $count } connection was one too many. “opensnitch-auditctl find” shows it.
   *[other] { $count } connections were too many at once. “opensnitch-auditctl find” shows them.
}
gone-title = Connections are not watched
gone = The service opensnitch-audit does not answer. You will be told when it is back.
silent-title = Connections are not watched
silent = No events reach the service opensnitch-audit. “opensnitch-auditctl diagnose” says why.
back-title = Connections are watched again
back = Connections made in the meantime were not told.
problem-title = Network connections: something went wrong

## Buttons.

button-details = Details
button-mute = Mute
button-top = Live view

## The command “muted”.

muted-none = Nothing is muted.
muted-program = program
muted-application = application
muted-sandboxed = in a sandbox
muted-undone = Not muted any more:
muted-unknown = Not muted, and so left as it is:
