package zktest

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// Ports are chosen below those that Linux gives to outgoing connections: a port must
// stay free while its server is down.
const firstPort, ports = 15000, 32768 - 15000

// given counts the ports that were tried, from a random one on.
var given atomic.Uint32

func init() { given.Store(rand.Uint32N(ports)) }

func freePort() (int, error) {
	for range 100 {
		port := int(firstPort + given.Add(1)%ports)
		ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		return port, ln.Close()
	}
	return 0, errors.New("no free port on 127.0.0.1 in a hundred tries")
}
