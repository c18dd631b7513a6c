"""One example of every step type, as it would stand in a role; a test holds them to the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STEP_EXAMPLES: Final[Mapping[str, str]] = {
    "packages": """\
packages: {names: [nova-api], start: false}
""",
    "debconf": """\
debconf:
  package: keystone
  selections:
    - {question: keystone/configure_db, type: boolean, value: false}
""",
    "file": """\
file: {path: /etc/nova/nova.conf, template: nova.conf, mode: "0640", group: nova, backup: true}
""",
    "ini": """\
ini: {path: /etc/php.ini, settings: {PHP: {memory_limit: 256M}}}
""",
    "line": """\
line: {path: /etc/hosts, match: '^127\\.0\\.1\\.1\\s', state: absent}
""",
    "block": """\
block: {path: /etc/hosts, label: hosts, template: hosts, position: start}
""",
    "unit": """\
unit: {name: mariadb, running: true, enabled: true, restart_on: [config]}
""",
    "command": """\
command: {argv: [a2enmod, headers], creates: /etc/apache2/mods-enabled/headers.load}
""",
    "hostname": """\
hostname: {name: "{{ host.short_name }}"}
""",
    "sql": """\
sql: {database: glance, user: glance, password: "{{ secrets.glance_db }}"}
""",
    "wait": """\
wait: {tcp: {host: "{{ host.address }}", port: 3306}, deadline_s: 30}
""",
    "probe": """\
probe: {script: boot-vm.py, input: {image: cirros, password: "{{ secrets.keystone_admin }}"}, timeout_s: 300}
""",
    "sysctl": """\
sysctl: {name: 60-router, settings: {net.ipv4.ip_forward: 1}}
""",
    "module": """\
module: {names: [br_netfilter, vhost_net]}
""",
    "fetch": """\
fetch:
  url: http://images.example.org/cirros.img
  path: /var/lib/pxeforge/cirros.img
  sha256: 7d6355852aeb6dbcd191bcda7cd74f1536cfe5cbf8a10495a7283a8396e4b75b
""",
    "user": """\
user:
  accounts:
    - {name: ops, groups: [adm], sudo: true, authorized_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA ops@desk"]}
""",
    "reboot": """\
reboot: {reason: the kernel that was installed, unless: test ! -e /run/reboot-required}
""",
    "disk": """\
disk: {disk: volumes, layout: lvm, group: cinder-volumes}
""",
    "network": """\
network:
  nics:
    - {name: eth0}
    - {name: eth1, addresses: [198.51.100.5/24, 198.51.100.6/24], mtu: 9000}
  vlans:
    - {name: storage, link: eth1, id: 20, addresses: [203.0.113.5/24]}
  bridges:
    - {name: br-ex, kind: ovs, ports: [eth0], addresses: [192.0.2.5/24], gateway: 192.0.2.1}
  dns: [192.0.2.1]
""",
    "ansible": """\
ansible: {file: site.yml, vars: {password: "{{ secrets.app_db }}"}}
""",
    "rabbitmq": """\
rabbitmq: {user: openstack, password: "{{ secrets.rabbitmq_openstack }}"}
""",
    "keystone": """\
keystone:
  auth: {url: "http://{{ at.keystone }}:5000/v3", user: admin, password: "{{ secrets.keystone_admin }}"}
  projects: [{name: service}]
  users: [{name: glance, password: "{{ secrets.glance_service }}"}]
  grants: [{user: glance, project: service, role: admin}]
  services:
    - name: glance
      type: image
      public: "http://{{ at.glance }}:9292"
      internal: "http://{{ at.glance }}:9292"
      admin: "http://{{ at.glance }}:9292"
""",
    "openstack": """\
openstack:
  auth: {url: "http://{{ at.keystone }}:5000/v3", user: admin, password: "{{ secrets.keystone_admin }}"}
  resources:
    - {kind: flavor, name: tiny, properties: {ram: 64, vcpus: 1, disk: 1}}
    - {kind: network, name: inside}
    - {kind: subnet, name: inside, properties: {network: inside, cidr: 192.168.40.0/24}}
""",
}
