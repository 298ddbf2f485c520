{{- define "livescore.name" -}}
{{- .Values.name | default .Release.Name -}}
{{- end -}}

{{- define "livescore.labels" -}}
app.kubernetes.io/name: livescore
app.kubernetes.io/instance: {{ include "livescore.name" . }}
app.kubernetes.io/part-of: livescore
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* No pod of the LiveScore: its NetworkPolicies must not choose it. */ -}}
{{- define "livescore.test-labels" -}}
app.kubernetes.io/name: livescore-test
app.kubernetes.io/instance: {{ include "livescore.name" . }}
app.kubernetes.io/part-of: livescore
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Registry that images without one of their own are pulled from, with a slash; empty for the default. */ -}}
{{- define "livescore.registry" -}}
{{- with (.Values.global | default dict).imageRegistry -}}{{- trimSuffix "/" . }}/{{- end -}}
{{- end -}}

{{- define "livescore.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- .Values.spec.image | default (printf "%s%s:%s" (include "livescore.registry" .) .Values.image.repository $tag) -}}
{{- end -}}

{{- /* Takes values that are null out of a map, at any depth: null takes a value away. */ -}}
{{- define "livescore.drop-nulls" -}}
{{- $map := . -}}
{{- range $name := keys $map -}}
{{- $value := get $map $name -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $map $name -}}
{{- else if kindIs "map" $value -}}
{{- include "livescore.drop-nulls" $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Completes the values: null takes a value away, and what the templates cannot do without has its default. */ -}}
{{- define "livescore.complete" -}}
{{- include "livescore.drop-nulls" .Values -}}
{{- $defaults := fromYaml `
image: {repository: livescore}
spec: {}
secrets: {}
test: {apiKeySecret: {key: key}, seconds: 120}
` -}}
{{- include "livescore.fill" (list .Values $defaults) -}}
{{- end -}}

{{- /* Sets what is missing in the first map to the value in the second, at any depth. */ -}}
{{- define "livescore.fill" -}}
{{- $given := index . 0 -}}
{{- range $name, $default := index . 1 -}}
{{- if not (hasKey $given $name) -}}
{{- $_ := set $given $name $default -}}
{{- else if kindIs "map" $default -}}
{{- include "livescore.fill" (list (get $given $name) $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The spec with what the other values say of it. */ -}}
{{- define "livescore.spec" -}}
{{- $name := include "livescore.name" . -}}
{{- $spec := merge (dict "image" (include "livescore.image" .)) (deepCopy .Values.spec) -}}
{{- $registry := include "livescore.registry" . -}}
{{- /* The defaults of the CRD, from the registry: a test compares. */ -}}
{{- range $server, $image := dict "postgres" "postgres:17" "redis" "valkey/valkey:8" -}}
{{- $given := get $spec $server | default dict -}}
{{- if and $registry (not $given.image) (eq (get $given "mode" | default "standalone") "standalone") -}}
{{- $_ := set $spec $server (merge (dict "image" (printf "%s%s" $registry $image)) $given) -}}
{{- end -}}
{{- end -}}
{{- if .Values.secrets.apiKeys -}}
{{- $reference := dict "name" (printf "%s-api-keys" $name) "key" "keys.json" -}}
{{- $_ := set $spec "api" (merge (dict "apiKeysSecret" $reference) ($spec.api | default dict)) -}}
{{- end -}}
{{- range $server, $url := dict "postgres" .Values.secrets.databaseUrl "redis" .Values.secrets.redisUrl -}}
{{- if $url -}}
{{- $given := get $spec $server | default dict -}}
{{- if ne (get $given "mode" | default "external") "external" -}}
{{- fail (printf "spec.%s.mode is %s, and secrets has the URL of an external one: give only one of them" $server $given.mode) -}}
{{- end -}}
{{- $external := dict "secretRef" (dict "name" (printf "%s-urls" $name) "key" $server) -}}
{{- $_ := set $spec $server (merge (dict "mode" "external" "external" $external) $given) -}}
{{- end -}}
{{- end -}}
{{- toYaml $spec -}}
{{- end -}}
