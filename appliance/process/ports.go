package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are chosen below those that Linux gives to outgoing connections (from
// 32768): a port that is free while its process restarts must not go to a client
// that dials it meanwhile.
const firstPort, lastPort = 15000, 32767

// FreeAddress returns a loopback address that nobody listened on a moment ago.
func FreeAddress() (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort+1))
		ln, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		return address, ln.Close()
	}
	return "", errors.New("no free port on 127.0.0.1 in a hundred tries")
}
