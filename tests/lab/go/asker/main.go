// SPDX-License-Identifier: GPL-3.0-or-later

// Asker is both ends of a benchmark of what is between them: `serve ADDRESS...` is a server that answers all the same,
// `load ORDER` asks as fast as it is answered, `first ORDER` asks until it is. An ORDER is a file; figures are printed.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const pause = 20 * time.Millisecond

var answer = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n" +
	`[{"id":1,"text":"a line"}]`)

// Order says whom to ask for what. Without CA there is no TLS; with it, each connection asks for the name of the first
// target, whatever Host its requests have.
type Order struct {
	Address     string
	CA          string
	Targets     []Target
	Status      int
	Connections int
	Requests    int
	Seconds     int
}

// Target is one request, a GET.
type Target struct {
	Host, Path string
	Headers    map[string]string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "asker:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) < 2 {
		return errors.New("expected serve ADDRESS..., load ORDER or first ORDER")
	}
	if words[0] == "serve" {
		return serve(words[1:])
	}
	order, err := read(words[1])
	if err != nil {
		return err
	}
	found, err := map[string]func(*Order) (any, error){"load": load, "first": first}[words[0]](order)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func read(file string) (*Order, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	order := &Order{}
	return order, json.Unmarshal(text, order)
}

func serve(addresses []string) error {
	ended := make(chan error)
	for _, address := range addresses {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() {
			for {
				client, err := listener.Accept()
				if err != nil {
					ended <- err
					return
				}
				go serveOne(client)
			}
		}()
	}
	return <-ended
}

// Requests have no body.
func serveOne(client net.Conn) {
	defer client.Close()
	reader := bufio.NewReader(client)
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return
		}
		if len(line) == 2 {
			if _, err := client.Write(answer); err != nil {
				return
			}
		}
	}
}

func load(order *Order) (any, error) {
	requests := requestsOf(order.Targets)
	clients := make([]*client, order.Connections)
	for i := range clients {
		one, err := connect(order)
		if err != nil {
			return nil, err
		}
		clients[i] = one
	}
	var next atomic.Int64
	var all sync.WaitGroup
	before, began := processor(), time.Now()
	for _, one := range clients {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < order.Requests && one.failure == nil; i = int(next.Add(1)) - 1 {
				one.ask(requests[i%len(requests)])
			}
		})
	}
	all.Wait()
	seconds, used := time.Since(began).Seconds(), processor()-before
	var took []float64
	statuses := map[int]int{}
	for _, one := range clients {
		if one.failure != nil {
			return nil, one.failure
		}
		took = append(took, one.took...)
		for status, count := range one.statuses {
			statuses[status] += count
		}
	}
	slices.Sort(took)
	at := func(share float64) float64 { return took[min(len(took)-1, int(share*float64(len(took))))] }
	return map[string]any{
		"seconds": seconds, "client_cpu_seconds": used, "statuses": statuses, "requests": len(took),
		"p50": at(0.5), "p99": at(0.99), "longest": took[len(took)-1],
	}, nil
}

// One target after the other, each as soon as the one before has answered as it should: what is printed are the times
// of day of the first and the last such answer.
func first(order *Order) (any, error) {
	end := time.Now().Add(time.Duration(order.Seconds) * time.Second)
	times := []float64{}
	var one *client
	for i, request := range requestsOf(order.Targets) {
		for {
			var err error
			status := 0
			if one == nil {
				one, err = connect(order)
			}
			if err == nil {
				if status = one.ask(request); one.failure != nil {
					err, one = one.failure, nil
				}
			}
			if status == order.Status {
				break
			}
			if time.Now().After(end) {
				return nil, fmt.Errorf("%s: last seen %d, %v", order.Targets[i].Host, status, err)
			}
			time.Sleep(pause)
		}
		times = append(times, float64(time.Now().UnixNano())/1e9)
	}
	return map[string]any{"first": times[0], "last": times[len(times)-1]}, nil
}

type client struct {
	connection net.Conn
	reader     *bufio.Reader
	took       []float64
	statuses   map[int]int
	failure    error
}

func connect(order *Order) (*client, error) {
	connection, err := net.DialTimeout("tcp", order.Address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if order.CA != "" {
		pem, err := os.ReadFile(order.CA)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		name := order.Targets[0].Host
		secure := tls.Client(connection, &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"http/1.1"}})
		if err := secure.Handshake(); err != nil {
			connection.Close()
			return nil, err
		}
		connection = secure
	}
	return &client{connection: connection, reader: bufio.NewReader(connection), statuses: map[int]int{}}, nil
}

// The status of the answer, 0 if there was none.
func (c *client) ask(request []byte) int {
	began := time.Now()
	status, err := c.exchange(request)
	if err != nil {
		c.failure = err
		c.connection.Close()
		return 0
	}
	c.took = append(c.took, time.Since(began).Seconds())
	c.statuses[status]++
	return status
}

// An answer has a length: nothing else is understood.
func (c *client) exchange(request []byte) (int, error) {
	c.connection.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.connection.Write(request); err != nil {
		return 0, err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 14 {
		return 0, fmt.Errorf("an answer begins with %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	length := -1
	for err == nil && len(line) > 2 {
		if line, err = c.reader.ReadSlice('\n'); err != nil {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	if err != nil {
		return 0, err
	}
	if length < 0 {
		return 0, fmt.Errorf("an answer of status %d has no length", status)
	}
	_, err = c.reader.Discard(length)
	return status, err
}

func requestsOf(targets []Target) [][]byte {
	found := make([][]byte, len(targets))
	for i, one := range targets {
		text := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n", one.Path, one.Host)
		for name, value := range one.Headers {
			text = fmt.Appendf(text, "%s: %s\r\n", name, value)
		}
		found[i] = append(text, '\r', '\n')
	}
	return found
}

// Seconds of processor time so far.
func processor() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}
