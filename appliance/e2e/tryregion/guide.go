package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// guide says where everything is and what to type.
func guide(dir string, z *zooKeeper, brokers []*broker) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nZooKeeper, two hubs and a gateway are ready. Data and logs are in %s.\n\n", dir)
	fmt.Fprintf(&b, "  %-10s %-15s %-15s %-15s %s\n", "", "Kafka", "NATS", "MQTT", "metrics")
	for _, one := range brokers {
		fmt.Fprintf(&b, "  %-10s %-15s %-15s %-15s http://%s/metrics\n", one.name, one.Kafka, one.NATS, one.MQTT, one.Admin)
	}
	fmt.Fprintf(&b, "  %-10s %s, in it /headwater\n", "ZooKeeper", z.address)
	hub1, hub2, gateway := brokers[0], brokers[1], brokers[2]
	host, port, _ := net.SplitHostPort(gateway.MQTT)
	fmt.Fprintf(&b, `
In another terminal, in this directory:

  # a topic is made by its first record, with two replicas; the answer comes when both have it
  echo hello | kcat -P -b %[1]s -t notes -X acks=all
  kcat -C -b %[2]s -t notes -o beginning -e

  # who leads what, and where the replicas are
  kcat -L -b %[1]s

  # a device's reading is stored on the gateway, and read by whoever asks a hub where it is
  mosquitto_pub -h %[4]s -p %[5]s -q 1 -t telemetry/press3/temp -m 21.5
  nats -s %[6]s request telemetry.press3.temp 21.6
  kcat -C -b %[1]s -t telemetry -o beginning -e -f '%%p/%%o %%k %%s\n'

  # kill a hub: in 6 to 8 s its session is over and the other one leads all; it goes on
  kill -9 $(cat %[7]s)
  echo 'still here' | kcat -P -b %[2]s -t notes -X acks=all
  kcat -L -b %[2]s -t notes

%[8]v later the hub is started again, and catches up. Ctrl-C stops everything.
`, hub1.Kafka, hub2.Kafka, gateway.Kafka, host, port, gateway.NATS, filepath.Join(dir, hub1.name+".pid"), againAfter)
	return b.String()
}
