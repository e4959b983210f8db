-- Spells out the labels of metrics as Envoy serves them: what travels in one tag (mesh/xds/labels.py) becomes labels.
-- What is written between at signs is filled in from there.

local peer, service, parts = {@peer@}, {@service@}, {@parts@}

local function split(text, separator)
  local values = {}
  for value in (text .. separator):gmatch('([^' .. separator .. ']*)' .. separator) do
    values[#values + 1] = value
  end
  return values
end

-- The labels that a tag stands for, behind a brace, without those that its instructions leave out.
local function labels_of(tag)
  local left_out, text = tag:match('^@start@([^@middle@]*)@middle@[^@end_of_instructions@]*@end_of_instructions@(.*)$')
  local labels = {}
  local function add(name, value)
    if not (left_out and left_out:find(',' .. name .. ',', 1, true)) then
      labels[#labels + 1] = name .. '="' .. value .. '"'
    end
  end
  local function add_all(names, prefix, values)
    for place, name in ipairs(names) do
      if (values[place] or '') == '' then values[place] = 'unknown' end
      add(prefix .. name, values[place])
    end
  end
  -- Of a text that is no group, all is unknown.
  local function values_of(group)
    return group:find('@and@', 1, true) and split(group, '@and@') or {}
  end
  local function add_peer(side, group, cluster)
    local names, principal = unpack(values_of(group))
    local values = split((names or '-') ~= '-' and names or '', '@list@')
    add_all(peer, side .. '_', values)
    add_all({'principal'}, side .. '_', {principal})
    local _, name, version = unpack(values)
    add(side .. '_app', name)
    add(side .. '_version', version)
    add(side .. '_cluster', cluster)
  end

  local groups = split(text or tag, '@next@')
  local source, destination, called, flags, code, protocol, grpc_status = unpack(groups)
  add('reporter', 'waypoint')
  add_peer('source', source, '@cluster@')
  add_peer('destination', destination, destination:find('@and@', 1, true) and '@cluster@' or 'unknown')
  add_all(service, '', values_of(called))
  add('request_protocol', protocol)
  if code ~= '' then
    add('response_code', code)
    add('grpc_response_status', grpc_status)
  end
  add('response_flags', flags)
  add('connection_security_policy', 'mutual_tls')
  for place = 8, #groups do
    local name, value = groups[place]:match('^([^@is@]*)@is@(.*)$')
    labels[#labels + 1] = name .. '="' .. (value == '' and 'unknown' or value) .. '"'
  end
  return '{' .. table.concat(labels, ',')
end

-- Many lines have the same tag: a histogram has one for each of its buckets.
local function remembering()
  return setmetatable({}, {__index = function(known, tag)
    known[tag] = labels_of(tag)
    return known[tag]
  end})
end

-- Follows the instructions that tags begin with, and adds up the lines that become the same: counters can be added, and
-- so can the buckets, sums and counts of histograms.
local function merged(text, spelled)
  local lines, places, sums = {}, {}, {}
  for line in text:gmatch('[^\n]+') do
    local name, tag, bucket, value = line:match('^([^{]+){@tag@="(@start@[^@end@]*)@end@"(.*)} (%S+)$')
    if name then
      local key = name .. (spelled[tag] .. bucket):gsub('^{,', '{') .. '} '
      local counts = {tag:match('@middle@(%d+),(%d+)')}
      local times = parts[name] and tonumber(counts[parts[name]] or 0) or 1
      sums[key] = (sums[key] or 0) + times * tonumber(value)
      if not places[key] then
        lines[#lines + 1] = key
        places[key] = #lines
      end
    else
      lines[#lines + 1] = line
    end
  end
  for key, place in pairs(places) do
    lines[place] = key .. string.format('%.15g', sums[key])
  end
  return table.concat(lines, '\n') .. '\n'
end

function envoy_on_response(handle)
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  local spelled = remembering()
  text = text:gsub('envoy_@prefix@_', '')
  if text:find('@start@', 1, true) then text = merged(text, spelled) end
  text = text:gsub('{@tag@="([^@end@]*)@end@"', spelled)
  body:setBytes(text .. '# TYPE istio_build gauge\nistio_build{component="proxy",tag="@version@"} 1\n')
end
