"""Warm start: commands of stages as forks of a process that has the slow imports behind it.

`environment` makes the environment in which ``python`` and ``dvc`` are small programs of ours; each (`launch`) asks the
`server` of its folder for a fork of it, `monitor` watches over the fork, and `command` turns it into the command. The
server has no secret: what a command gets reaches its fork alone. At any doubt the command starts as it always did.

Our own code, because what the standard library has for it (``multiprocessing.forkserver``) forks for functions of its
own parent process only: no command line, folder, environment, standard streams or signals of another process, and no
sharing between the tasks of a machine.
"""
