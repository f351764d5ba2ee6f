# SPDX-License-Identifier: BSD-2-Clause
"""The pods that try who reaches whom. Each listens for everybody, and asks others when it is told to.

What tells it comes by a port-forward: it takes orders on its loopback address only, where no other pod gets to.
"""

from __future__ import annotations

from ..isolation import Part
from ..objects import Body, Desired
from ..project.model import Platform
from ..project.names import COMPONENT_LABEL, PROBE_LABEL
from .context import CONTAINER_SECURITY, RESTRICTED, Context, pod_security, tolerations
from .pooler import USER

# Where probes listen: the two ports that policies name, and one that none does, there with UDP, too.
OTHER_PORT = 8080
PORTS = (Context.POSTGRESQL_PORT, Context.POOLER_PORT, OTHER_PORT)
ORDERS_PORT = 8081
CONTAINER = "probe"
# The parts that a policy knows by a component's label. Without the project's no Service and no workload takes the pod.
_COMPONENTS = (Part.POOLER, Part.DATABASE)

# Perl is in the platform's own images, as it is in every Debian, and bash cannot listen.
# An order is a line with seconds and the payload for UDP in hex, then a line for each target, then an empty one.
PROGRAM = r"""
use strict;
use Errno qw(EINPROGRESS);
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use Socket;

my ($orders_port, $udp_port, @ports) = @ARGV;
$SIG{TERM} = $SIG{INT} = sub { exit 0 };
$SIG{CHLD} = $SIG{PIPE} = 'IGNORE';
my %tcp = (Proto => 'tcp', Listen => 128, ReuseAddr => 1);
my $orders = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$orders_port", %tcp) or die "port $orders_port: $!\n";
my $udp = IO::Socket::INET->new(LocalAddr => "0.0.0.0:$udp_port", Proto => 'udp') or die "UDP port $udp_port: $!\n";
my @open = map { IO::Socket::INET->new(LocalAddr => "0.0.0.0:$_", %tcp) or die "port $_: $!\n" } @ports;
my $all = IO::Select->new($orders, $udp, @open);
while (1) {
    for my $ready ($all->can_read) {
        if ($ready == $udp) {
            my $from = recv($udp, my $data, 512, 0);
            send($udp, $data, 0, $from) if $from;
            next;
        }
        my $peer = $ready->accept or next;
        next if $ready != $orders or fork;
        obey($peer);
        exit 0;
    }
}

sub obey {
    my ($peer) = @_;
    my ($seconds, $payload) = split ' ', scalar <$peer>;
    $payload = pack 'H*', $payload;
    my (@answers, %waiting);
    while (defined(my $line = <$peer>)) {
        my ($protocol, $address, $port) = split ' ', $line or last;
        push @answers, 'closed';
        socket(my $socket, PF_INET, $protocol eq 'udp' ? SOCK_DGRAM : SOCK_STREAM, 0) or die "socket: $!\n";
        $socket->blocking(0);
        connect($socket, pack_sockaddr_in($port, inet_aton($address))) or $! == EINPROGRESS or next;
        $waiting{fileno $socket} = [$#answers, $socket, $protocol eq 'udp'];
    }
    my ($end, $sent) = (time + $seconds, 0);
    while (%waiting and time <= $end) {
        my ($readable, $writable) = ('', '');
        for my $one (values %waiting) {
            my ($number, $socket, $is_udp) = @$one;
            send($socket, $payload, 0) if $is_udp and $sent < time;
            vec($is_udp ? $readable : $writable, fileno $socket, 1) = 1;
        }
        $sent = time;
        select($readable, $writable, undef, 0.5) > 0 or next;
        for my $one (values %waiting) {
            my ($number, $socket, $is_udp) = @$one;
            next unless vec($is_udp ? $readable : $writable, fileno $socket, 1);
            my $well = $is_udp ? defined sysread($socket, my $data, 512)
                : unpack('i', getsockopt($socket, SOL_SOCKET, SO_ERROR)) == 0;
            $answers[$number] = 'open' if $well;
            delete $waiting{fileno $socket};
        }
    }
    print $peer map { "$_\n" } @answers;
    close $peer;
}
"""


def render_probe(platform: Platform, *, namespace: str, part: Part, node: str, name: str, seconds: int) -> Desired:
    """A probe on a node. It ends by itself after `seconds`, should nobody remove it."""
    labels = {PROBE_LABEL: platform.namespace, **({COMPONENT_LABEL: part.value} if part in _COMPONENTS else {})}
    meta = {"name": name, "namespace": namespace, "labels": labels}
    spec = passing_pod(_container(platform.images["pgbouncer"]), node=node, seconds=seconds)
    return Desired(body={"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


def passing_pod(container: Body, *, node: str, seconds: int) -> Body:
    """What pods on one node have in common that end by themselves after `seconds`, come what may."""
    return {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": seconds,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "affinity": _only_on(node),
        "tolerations": tolerations(),
        "securityContext": pod_security(USER),
        "containers": [container],
    }


def render_outside(platform: Platform, name: str) -> Desired:
    """The namespace that no policy is in. Nothing runs there but probes."""
    meta = {"name": name, "labels": {PROBE_LABEL: platform.namespace, **RESTRICTED}}
    return Desired(body={"apiVersion": "v1", "kind": "Namespace", "metadata": meta})


def _container(image: str) -> Body:
    words = (ORDERS_PORT, OTHER_PORT, *PORTS)
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/bin/perl", "-e", PROGRAM, *(str(word) for word in words)],
        "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"cpu": "80m", "memory": "32Mi"}},
        "securityContext": dict(CONTAINER_SECURITY),
    }


def _only_on(node: str) -> Body:
    """The affinity of a pod that runs on one node or nowhere."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
