# Lo que dice opensnitch-audit-notify. Cada idioma tiene los mismos mensajes con las mismas variables.

sender = Conexiones de red

connects-to = { $name } se conecta a { $destination }
connections = { $count ->
    [one] { $name }: { $count } conexión
   *[other] { $name }: { $count } conexiones
}
name-in = { $name } (en { $application })
name-unknown = Un programa sin nombre

address-port-protocol = { $address }, puerto { $port }, { $protocol }
address-port = { $address }, puerto { $port }
named-destination = { $name }: { $destination }
more-destinations = { $count ->
    [one] y { $count } destino más
   *[other] y { $count } destinos más
}
earlier-destinations = y otros anteriores

user-starter = Usuario { $user }, iniciado por { $starter }
user = Usuario { $user }
starter = Iniciado por { $starter }

several = { $count ->
    [one] { $count } programa se conecta a la red
   *[other] { $count } programas se conectan a la red
}
program-destination = { $name } → { $destination }
more-programs = { $count ->
    [one] y { $count } más
   *[other] y { $count } más
}

details-of = { $name }: detalles
details-of-several = Detalles
detail-program = Programa: { $path }
detail-command = Orden: { $command }
detail-folder = Carpeta: { $folder }
detail-application = Aplicación: { $application }
detail-user = Usuario: { $user }
detail-starters = Iniciado por: { $starters }
detail-connections = Conexiones: { $count }
detail-destinations = Destinos:

lost-title = No se notificaron todas las conexiones
lost = { $count ->
    [one] { $count } conexión fue demasiado. «opensnitch-auditctl find» la muestra.
   *[other] { $count } conexiones fueron demasiadas a la vez. «opensnitch-auditctl find» las muestra.
}
gone-title = No se vigilan las conexiones
gone = El servicio opensnitch-audit no responde. Se avisará cuando vuelva.
silent-title = No se vigilan las conexiones
silent = Al servicio opensnitch-audit no le llegan eventos. «opensnitch-auditctl diagnose» dice por qué.
back-title = Las conexiones se vigilan de nuevo
back = No se notificaron las conexiones hechas mientras tanto.
problem-title = Conexiones de red: algo salió mal

button-details = Detalles
button-mute = Silenciar
button-top = Vista en vivo

muted-none = No hay nada silenciado.
muted-program = programa
muted-application = aplicación
muted-sandboxed = en un entorno aislado
muted-undone = Ya no está silenciado:
muted-unknown = No estaba silenciado y queda como está:
