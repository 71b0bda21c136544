package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
)

// Ports are chosen below those that Linux gives to outgoing connections (from
// 32768): a port that is free while its process restarts must not go to a client
// that dials it meanwhile.
const firstPort, ports = 15000, 32768 - 15000

// given counts the ports that were tried, from a random one on: none is given twice
// before all were, since one that is given but not listened on yet looks free.
var given atomic.Uint32

func init() { given.Store(rand.Uint32N(ports)) }

// FreeAddress returns a loopback address that nobody listened on a moment ago, and
// that it did not return before.
func FreeAddress() (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+given.Add(1)%ports)
		ln, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		return address, ln.Close()
	}
	return "", errors.New("no free port on 127.0.0.1 in a hundred tries")
}
