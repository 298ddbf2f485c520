{{- define "livescore-operator.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 21 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end -}}

{{- define "livescore-operator.selector" -}}
app.kubernetes.io/name: livescore-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "livescore-operator.labels" -}}
{{ include "livescore-operator.selector" . }}
app.kubernetes.io/part-of: livescore
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "livescore-operator.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with (.Values.global | default dict).imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "livescore-operator.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "livescore-operator.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "livescore-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "livescore-operator.account" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* What every object begins with but those of other namespaces; `suffix` may be empty. */ -}}
{{- define "livescore-operator.metadata" -}}
name: {{ include "livescore-operator.name" .root }}{{ .suffix }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "livescore-operator.labels" .root | nindent 2 }}
{{- end -}}

{{- define "livescore-operator.cluster-metadata" -}}
name: {{ include "livescore-operator.name" .root }}{{ .suffix }}
labels:
  {{- include "livescore-operator.labels" .root | nindent 2 }}
{{- end -}}
