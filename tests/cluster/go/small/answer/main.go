// The smallest thing that a Deployment can run: answers any request with a file's content.
//
//	answer serve :8501 [FILE]   200 and FILE (or "ok"); a line on stdout for each request
//	answer show FILE            for `kubectl exec`: there is no cat in the image
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "show":
		content, err := os.ReadFile(arguments[1])
		os.Stdout.Write(content)
		return err
	case len(arguments) >= 2 && arguments[0] == "serve":
		fmt.Println("answering at", arguments[1])
		// HTTP/2, too: a gRPC channel becomes ready.
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		answer := answerWith(arguments[2:])
		server := http.Server{Addr: arguments[1], Handler: answer, Protocols: protocols}
		return server.ListenAndServe()
	}
	return fmt.Errorf("Expected: serve ADDRESS [FILE], or show FILE. Received: %q", arguments)
}

func answerWith(file []string) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		fmt.Println(request.Method, request.URL.Path)
		content, err := []byte("ok\n"), error(nil)
		if len(file) > 0 {
			content, err = os.ReadFile(file[0])
		}
		if err != nil {
			http.Error(response, err.Error(), http.StatusServiceUnavailable)
			return
		}
		response.Write(content)
	}
}
