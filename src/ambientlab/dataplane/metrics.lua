-- Spells out the labels of metrics as Envoy serves them: what travels in one tag (mesh/xds/labels.py) becomes labels.
-- What is written between at signs is filled in from there.

local parts = {@parts@}

-- Follows the instructions that lines begin their labels with, and adds up the lines that become the same: counters
-- can be added, and so can the buckets, sums and counts of histograms.
local function merged(text)
  local lines, places, sums = {}, {}, {}
  for line in text:gmatch('[^\n]+') do
    local name, left_out, messages, rest, value = line:match(
      '^([^{]+){@tag@="@start@([^@middle@]*)@middle@([^@end@]*)@end@(.*)} (%S+)$')
    if name then
      rest = rest:gsub('([%w_]+)@is@[^@and@@or@]*[@and@@or@]', function(label)
        if left_out:find(',' .. label .. ',', 1, true) then return '' end
      end)
      local key = name .. '{@tag@="' .. rest .. '} '
      local counts = {messages:match('(%d+),(%d+)')}
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
  text = text:gsub('envoy_@prefix@_', '')
  text = text:gsub('@destination@', '@unknown_destination@'):gsub('[@destination@]', '')
  text = text:gsub('@service@', '@unknown_service@'):gsub('[@service@]', '')
  text = text:gsub('([@is@@given@])@and@', '%1unknown@and@')
  if text:find('@start@', 1, true) then text = merged(text) end
  text = text:gsub('{@tag@="', '{'):gsub('[@and@@or@]"', '"')
  text = text:gsub('{"}', '{}'):gsub('{",', '{')  -- of a metric that was left no label
  text = text:gsub('[@is@@given@]', '="'):gsub('[@and@@or@]', '",')
  body:setBytes(text .. '# TYPE istio_build gauge\nistio_build{component="proxy",tag="@version@"} 1\n')
end
