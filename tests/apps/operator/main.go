// What the OpenTelemetry operator makes of a collector, by its own types: read as the API server reads it, and the ports
// that its webhook opens.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/go-logr/logr"
	"github.com/open-telemetry/opentelemetry-operator/apis/v1beta1"
	"sigs.k8s.io/yaml"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = read(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(text []byte) error {
	var collector v1beta1.OpenTelemetryCollector
	if err := yaml.UnmarshalStrict(text, &collector); err != nil {
		return err
	}
	config := &collector.Spec.Config
	host, port, err := config.Service.MetricsEndpoint(logr.Discard())
	if err != nil {
		return err
	}
	if config.Service.Telemetry != nil && config.Service.GetTelemetry(logr.Discard()) == nil {
		return fmt.Errorf("service.telemetry cannot be read")
	}
	if _, err := config.ApplyDefaults(logr.Discard()); err != nil {
		return err
	}
	ports, err := config.GetAllPorts(logr.Discard())
	if err != nil {
		return err
	}
	opened := map[string]int32{}
	for _, one := range ports {
		opened[one.Name] = one.Port
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"host": host, "metrics": port, "ports": opened})
}
