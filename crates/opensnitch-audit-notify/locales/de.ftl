# Was opensnitch-audit-notify sagt. Jede Sprache hat dieselben Meldungen mit denselben Variablen.

sender = Netzverbindungen

connects-to = { $name } verbindet sich mit { $destination }
connections = { $count ->
    [one] { $name }: { $count } Verbindung
   *[other] { $name }: { $count } Verbindungen
}
name-in = { $name } (in { $application })
name-unknown = Ein Programm ohne Namen

address-port-protocol = { $address }, Port { $port }, { $protocol }
address-port = { $address }, Port { $port }
named-destination = { $name }: { $destination }
more-destinations = { $count ->
    [one] und { $count } weiteres Ziel
   *[other] und { $count } weitere Ziele
}
earlier-destinations = und frühere

user-starter = Benutzer { $user }, gestartet von { $starter }
user = Benutzer { $user }
starter = Gestartet von { $starter }

several = { $count ->
    [one] { $count } Programm verbindet sich mit dem Netz
   *[other] { $count } Programme verbinden sich mit dem Netz
}
program-destination = { $name } → { $destination }
more-programs = { $count ->
    [one] und { $count } weiteres
   *[other] und { $count } weitere
}

details-of = { $name }: Einzelheiten
details-of-several = Einzelheiten
detail-program = Programm: { $path }
detail-command = Befehl: { $command }
detail-folder = Ordner: { $folder }
detail-application = Anwendung: { $application }
detail-user = Benutzer: { $user }
detail-starters = Gestartet von: { $starters }
detail-connections = Verbindungen: { $count }
detail-destinations = Ziele:

lost-title = Nicht jede Verbindung wurde gemeldet
lost = { $count ->
    [one] { $count } Verbindung war eine zu viel. „opensnitch-auditctl find“ zeigt sie.
   *[other] { $count } Verbindungen waren zu viele auf einmal. „opensnitch-auditctl find“ zeigt sie.
}
gone-title = Verbindungen werden nicht beobachtet
gone = Der Dienst opensnitch-audit antwortet nicht. Sobald er zurück ist, wird es gemeldet.
silent-title = Verbindungen werden nicht beobachtet
silent = Den Dienst opensnitch-audit erreichen keine Ereignisse. „opensnitch-auditctl diagnose“ sagt, warum.
back-title = Verbindungen werden wieder beobachtet
back = Verbindungen aus der Zwischenzeit wurden nicht gemeldet.
problem-title = Netzverbindungen: Etwas ging schief

button-details = Einzelheiten
button-mute = Stummschalten
button-top = Live-Ansicht

muted-none = Nichts ist stummgeschaltet.
muted-program = Programm
muted-application = Anwendung
muted-sandboxed = in einer Sandbox
muted-undone = Nicht mehr stummgeschaltet:
muted-unknown = War nicht stummgeschaltet und bleibt, wie es ist:
