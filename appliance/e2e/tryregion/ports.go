package main

import (
	"errors"
	"fmt"
	"net"
)

// portsFree reports all that others listen on: what answered there would be taken for
// a part of the region.
func portsFree(z *zooKeeper, brokers []*broker) error {
	addresses := []string{z.address}
	for _, b := range brokers {
		addresses = append(addresses, b.Kafka, b.NATS, b.Admin)
		if b.MQTT != "" {
			addresses = append(addresses, b.MQTT)
		}
	}
	var errs []error
	for _, address := range addresses {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s cannot be listened on; is another region running here? (%w)", address, err))
			continue
		}
		ln.Close()
	}
	return errors.Join(errs...)
}
